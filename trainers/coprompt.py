"""CoPrompt: consistency-guided prompt learning (arXiv 2306.01195).

MaPLe's coupled prompts in both encoders, an adapter behind each, and a loss that holds the features f of images and g
of classes near the frozen CLIP's f0 and g0. With x what the prompted encoder gives,

    f = norm((1 - a) x + a relu(U relu(D x))),    and g likewise, with adapter and share of their own,
    loss = ce + W (1 - mean cos(g, g0)) + W (1 - mean cos(f, f0)).

What the frozen CLIP sees is not what the prompts see: f0 is of another random view of the picture, and g0 of a sentence
that a large language model wrote about the class, another one in each step.

Training draws the second view where DATALOADER.K_TRANSFORMS is 2, as the published configs have it; with 1 both sides
see the same view. The sentences are a file of the user's (SENTENCES); without one g0 is that of the data set's
hand-crafted template (our choice).
"""

from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional as F

from dassl.engine import TRAINER_REGISTRY

from .base import PromptTrainer
from .compat import autocast
from .keys import TOKENS, TRAINING_FILE, WEIGHT_OR_AUTHORS, Key, add_defaults, at_least, between, method_defaults
from .prompting.coupled_prompts import CoupledPrompts
from .prompting.model import PromptedCLIP, normalise
from .prompting.sentences import Sentences, encode_sentences, read_sentences
from .prompting.templates import KGCOOP_TEMPLATES, template_for

DEFAULTS = method_defaults()
DEFAULTS.N_CTX = Key(2, TOKENS)  # prompt tokens in each encoder (authors' code; 4 on most data sets)
DEFAULTS.CTX_INIT = "a photo of a"  # words whose first N_CTX tokens start P_0; empty: random (authors' code)
DEFAULTS.PROMPT_DEPTH = Key(9, at_least(1))  # layers with prompts of their own (authors' code; 12 on most data sets)
DEFAULTS.IMAGE_ADAPTER = Key(0.1, between(0, 1))  # a, share of the adapter in image features (authors' code)
DEFAULTS.TEXT_ADAPTER = Key(0.2, between(0, 1))  # share of the adapter in text features (authors' code)
# Weight of the consistency loss; -1: the authors' for the data set (authors' code)
DEFAULTS.W = Key(-1.0, WEIGHT_OR_AUTHORS)
# JSON file of sentences about the training classes, {class name: [sentence, ...]}; empty: the template [ours]
DEFAULTS.SENTENCES = Key("", TRAINING_FILE)
add_defaults("COPROMPT", DEFAULTS)

REDUCTION = 4  # channels of the features for each of an adapter's middle (authors' code)
WEIGHTS = {  # by data set; 1 for the others (authors' code)
    "ImageNet": 8.0,
    "Caltech101": 4.0,
    "OxfordPets": 0.1,
    "StanfordCars": 4.0,
    "OxfordFlowers": 8.0,
    "Food101": 0.5,
    "FGVCAircraft": 2.0,
    "SUN397": 8.0,
    "DescribableTextures": 8.0,
    "EuroSAT": 0.1,
    "UCF101": 2.0,
}


class Adapter(nn.Module):
    """relu(U relu(D x)), (n, dim) -> (n, dim), without biases."""

    def __init__(self, dim):
        super().__init__()
        self.down = nn.Linear(dim, dim // REDUCTION, bias=False)
        self.up = nn.Linear(dim // REDUCTION, dim, bias=False)

    def forward(self, x):
        return F.relu(self.up(F.relu(self.down(x))))


class PromptLearner(CoupledPrompts):
    def __init__(self, cfg, classnames, clip_model, text_encoder, image_encoder):
        options, dim = cfg.TRAINER.COPROMPT, clip_model.text_projection.shape[1]
        super().__init__("TRAINER.COPROMPT", options, classnames, clip_model, text_encoder, image_encoder)
        self.shares = {"image": options.IMAGE_ADAPTER, "text": options.TEXT_ADAPTER}
        self.adapters = nn.ModuleDict({side: Adapter(dim) for side in self.shares})

    def adapted(self, side, x):
        """What "image" or "text" features become, (n, dim), not normalised."""
        share, x = self.shares[side], x.float()
        return (1 - share) * x + share * self.adapters[side](x)


class CustomCLIP(PromptedCLIP):
    def __init__(self, cfg, classnames, clip_model):
        super().__init__(cfg, classnames, clip_model)
        self.require_vit("CoPrompt", cfg)
        options = cfg.TRAINER.COPROMPT
        self.w = WEIGHTS.get(cfg.DATASET.NAME, 1.0) if options.W == -1 else options.W
        self.prompt_learner = PromptLearner(cfg, classnames, clip_model, self.text_encoder, self.image_encoder)
        self.add_hand_features(clip_model, [template_for(cfg, KGCOOP_TEMPLATES)])
        self._file, self._sentences = options.SENTENCES, None
        self._clip = [clip_model]  # in a list, so that its modules are not registered a second time

    def sentences(self) -> Sentences:
        """What g0 is drawn from. The file is read when a training first asks: no test needs it."""
        if self._sentences is None and self._file:
            texts = read_sentences(self._file, self.classnames, "TRAINER.COPROMPT.SENTENCES")
            print(f"Encoding {sum(map(len, texts)):,} sentences of {len(texts)} classes, {self._file}")
            with autocast(self.logit_scale.device.type, enabled=False):
                self._sentences = encode_sentences(self._clip[0], texts)
        elif self._sentences is None:
            ones = torch.ones(len(self.classnames), dtype=torch.long, device=self.hand_features.device)
            self._sentences = Sentences(self.hand_features, ones)
        return self._sentences

    def encode_image(self, image):
        learner = self.prompt_learner
        return normalise(learner.adapted("image", learner.encode_image(self.image_encoder, image)))

    def encode_text(self):
        learner = self.prompt_learner
        return normalise(learner.adapted("text", learner.encode_text(self.text_encoder)))

    def training_pass(self, image, label):
        """image: also a pair of views, of which the frozen CLIP sees the second; each (B, 3, H, W)."""
        view, other = image if isinstance(image, (list, tuple)) else (image, image)
        g0 = self.sentences().draw()
        f, g = self.encode_image(view), self.encode_text()
        with torch.no_grad():
            f0 = normalise(self.image_encoder(other))
        logits = self.logits(f, g)
        losses = OrderedDict(
            ce=F.cross_entropy(logits, label),
            con_text=self.w * (1 - (g * g0).sum(dim=-1).mean()),
            con_image=self.w * (1 - (f * f0).sum(dim=-1).mean()),
        )
        return f, g, logits, losses


@TRAINER_REGISTRY.register()
class CoPrompt(PromptTrainer):
    """CoPrompt: Consistency-guided Prompt Learning for Vision-Language Models."""

    config_node = "COPROMPT"
    custom_clip = CustomCLIP
    most_views = 2

    def before_train(self):
        self.model.sentences()  # what is wrong with their file is said before the first step
        super().before_train()
