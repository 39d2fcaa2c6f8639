"""Skip Tuning: pre-trained vision-language models are effective and efficient adapters themselves (arXiv 2412.11509).

No prompts and no adapters: CLIP's own layers learn, from START_LAYER on in both encoders, with what makes features of
their outputs (ln_post, proj, ln_final, text_projection). The text is a hand-crafted prompt.

- LSkip (layer-wise skipping): no gradient and no step passes the layers in front. What comes out of them is the same
  in all steps, so that it can be kept: of texts for the whole training, of pictures where they are seen again
  (DATALOADER.STORED_VIEWS).
- CSkip (class-wise skipping): a step encodes only some of the C classes. By

      s_c = max over the batch of cos(f, w_c),    w_c: the text feature of CLIP before training,

  they are ranked; a picture's own class comes first. Ranks 1 to K = min(ceil(TOP_RATIO C), MAX_TOP) are kept, and rank
  K + i with probability p_i = (e_i - e_min) / (e_max - e_min), e_i = exp(-x_i / LAMBDA), x in even steps from 0 to 5.
  Which ranks those are is drawn once, and holds for the whole training (as in the authors' code).

The loss is cross-entropy of exp(logit_scale) cos(f, g) over the kept classes. A batch is of one class, where it has at
least as many shots as the batch has pictures (authors' code).
"""

import math
import re
from typing import List

import torch
from torch import nn
from torch.utils.data import DataLoader

from dassl.engine import TRAINER_REGISTRY

from .base import PromptTrainer
from .between_graphs import BetweenGraphs
from .keys import Key, above, above_to, add_defaults, method_defaults, whole
from .prompting.encoders import check_layer
from .prompting.image_batch import labels_on_host
from .prompting.model import PromptedCLIP, normalise
from .prompting.own_weights import OwnWeights
from .prompting.prompt_text import PromptSequences, tokenize_classes
from .prompting.templates import SKIP_TEMPLATES, template_for
from .prompting.text_tokens import TextTokens
from .run.steps import OfOneClass

DEFAULTS = method_defaults()
DEFAULTS.START_LAYER = Key(6, whole(0))  # first layer of both encoders that learns, from 0 (authors' code)
DEFAULTS.TOP_RATIO = Key(0.5, above_to(0, 1))  # share of the classes that a step keeps for sure (authors' code)
DEFAULTS.MAX_TOP = Key(50, whole(1))  # most of them (authors' code)
DEFAULTS.LAMBDA = Key(0.3, above(0))  # scale of the exponential by which others are kept (authors' code)
# Round what learns to float16 after each step, as the authors' code has it on a GPU; else it is float32 (our choice)
DEFAULTS.HALF_WEIGHTS = False
add_defaults("SKIPTUNING", DEFAULTS)

FURTHEST = 5.0  # the last of x (authors' code)
BEHIND = {"ln_post", "proj", "ln_final", "text_projection"}  # the layers of either encoder


class PromptLearner(nn.Module):
    def __init__(self, first, text_encoder, image_encoder):
        super().__init__()

        def learns(name):
            layer = re.search(r"resblocks\.(\d+)\.", name)
            return int(layer.group(1)) >= first if layer else not BEHIND.isdisjoint(name.split("."))

        self.text, self.image = OwnWeights(text_encoder, learns), OwnWeights(image_encoder, learns)

    @torch.no_grad()
    def round_to_half(self):
        """All but layer norms, which OpenAI's CLIP has in float32."""
        for name, parameter in self.named_parameters():
            if "ln_" not in name:
                parameter.copy_(parameter.half())


def chances(n: int, scale: float) -> torch.Tensor:
    """(n,): p_1 .. p_n. Of a single rank it is NaN, with which it is never kept (as in the authors' code)."""
    e = torch.exp(-torch.linspace(0.0, FURTHEST, n, dtype=torch.float64) / scale)
    return ((e - e.min()) / (e.max() - e.min())).float()


class KeptRanks(nn.Module):
    """Which of C ranks, from 0, a step keeps: `mask` (C,), drawn once and stored for a training that goes on."""

    def __init__(self, n_cls, n_top, scale):
        super().__init__()
        n = n_cls - n_top
        more = torch.rand(n) < chances(n, scale) if n else torch.zeros(0, dtype=torch.bool)
        self.register_buffer("mask", torch.cat([torch.ones(n_top, dtype=torch.bool), more]))
        self.n_top, self.ranks = n_top, self.mask.nonzero().flatten().tolist()

    def _load_from_state_dict(self, *args):
        super()._load_from_state_dict(*args)
        self.ranks = self.mask.nonzero().flatten().tolist()

    def forward(self, labels: torch.Tensor) -> List[int]:
        """The ranks of a batch, whose own classes come first and are always kept; labels (B,): in the host's memory.

        In the authors' code one that is left out counts as the first of the kept classes.
        """
        if len(labels) <= self.n_top:
            return self.ranks
        n_own = len(set(labels.tolist()))
        return [*range(n_own), *(rank for rank in self.ranks if rank >= n_own)]


@BetweenGraphs
def ranks_of(kept: KeptRanks, labels: torch.Tensor, device: torch.device) -> torch.Tensor:
    """(m,) on the device"""
    return torch.tensor(kept(labels)).to(device, non_blocking=True)


@BetweenGraphs
def frozen_text(model: "CustomCLIP") -> torch.Tensor:
    """What the texts' tokens are behind the frozen layers, computed once."""
    if model.frozen_text is None:
        with torch.no_grad():
            model.frozen_text = model.text_encoder.first_layers(model.sequences(), model.frozen_layers).x
    return model.frozen_text


class CustomCLIP(PromptedCLIP):
    def __init__(self, cfg, classnames, clip_model):
        super().__init__(cfg, classnames, clip_model)
        self.require_vit("Skip Tuning", cfg)
        options, n_cls = cfg.TRAINER.SKIPTUNING, len(classnames)
        self.frozen_layers = options.START_LAYER
        n_layers = min(self.text_encoder.n_layers, self.image_encoder.n_layers)
        check_layer("TRAINER.SKIPTUNING.START_LAYER", self.frozen_layers, n_layers)
        self.prompt_learner = PromptLearner(self.frozen_layers, self.text_encoder, self.image_encoder)
        template = template_for(cfg, SKIP_TEMPLATES)
        tokens = tokenize_classes(classnames, template)
        longest = int(tokens.argmax(dim=-1).max()) + 1  # all texts are as long, so that any of them can be taken
        self.sequences = PromptSequences(clip_model, tokens=tokens, min_length=longest)
        self.register_buffer("frozen_text", None, persistent=False)
        self.add_hand_features(clip_model, [template])  # w
        n_top = min(math.ceil(options.TOP_RATIO * n_cls), options.MAX_TOP)
        self.training_only["kept"] = KeptRanks(n_cls, n_top, options.LAMBDA)

    def encode_image(self, image):
        encoder = self.prompt_learner.image(self.image_encoder)
        return normalise(encoder.last_layers(self.frozen_outputs(image), self.frozen_layers))

    def encode_text(self, classes=None):
        """classes (m,): encode only these."""
        texts = self.sequences
        tokens = TextTokens(frozen_text(self), texts.n_shared, texts.groups, texts.rows, texts.eos)
        tokens = tokens if classes is None else tokens.take(classes)
        return normalise(self.prompt_learner.text(self.text_encoder)(tokens, first=self.frozen_layers))

    @torch.no_grad()
    def kept_classes(self, f, label, ranks):
        """Image features (B, dim), labels (B,) and the ranks (m,) that are kept -> the classes that have them (m,)."""
        scores = (f @ self.hand_features.t()).scatter(1, label[:, None], math.inf).max(dim=0).values
        return scores.argsort(descending=True)[ranks]

    def training_pass(self, image, label):
        f = self.encode_image(image)
        ranks = ranks_of(self.training_only["kept"], labels_on_host(image, label), label.device)
        classes = self.kept_classes(f, label, ranks)
        g = self.encode_text(classes)
        # A logit of -inf takes no part in the cross-entropy
        skipped = torch.full((len(f), len(self.classnames)), -math.inf, device=f.device)
        logits = skipped.index_copy(1, classes, self.logits(f, g))
        return f, g, logits, self.losses(f, g, logits, label)


@TRAINER_REGISTRY.register()
class SkipTuning(PromptTrainer):
    """Skip Tuning: Pre-trained Vision-Language Models are Effective and Efficient Adapters Themselves."""

    config_node = "SKIPTUNING"
    custom_clip = CustomCLIP

    def build_data_loader(self):
        super().build_data_loader()
        loader, size = self.train_loader_x, self.cfg.DATALOADER.TRAIN_X.BATCH_SIZE
        if self.cfg.DATASET.NUM_SHOTS >= size:
            batches = OfOneClass([item.label for item in loader.dataset.data_source], size)
            workers = {"num_workers": loader.num_workers, "pin_memory": loader.pin_memory}
            self.train_loader_x = DataLoader(loader.dataset, batch_sampler=batches, **workers)

    def forward_backward(self, batch):
        summary = super().forward_backward(batch)
        if self.cfg.TRAINER.SKIPTUNING.HALF_WEIGHTS:
            self.model.prompt_learner.round_to_half()
        return summary
