"""2SFS: few-shot adaptation in two stages (arXiv 2503.11609).

No prompts. First the layer norms of both encoders learn, with the hand-crafted prompt as text, then nothing but a
linear classifier W, which starts as the text features g of the adapted encoder. With f the adapted features,

    stage 1:  ce(exp(logit_scale) norm(f) norm(g)^T)        stage 2:  ce(exp(logit_scale) norm(f) norm(W)^T).

A test has a row of W for each class that was trained, known by its name, and the text of each other class: one head of
both ("selective inference"), so that classes of a new half, of another data set and all together have a meaning.

The training is as long as ITERATIONS steps for each shot, of which the first stage has FRACTION; each stage has an
optimiser and a schedule of its own. Stage 1 can also train biases (arXiv 2106.10199) or low-rank updates, as CLIP-LoRA.
"""

import re
from collections import Counter

import torch
from torch import nn

from dassl.engine import TRAINER_REGISTRY

from .counted import CountedTrainer
from .features.frozen_features import FrozenFeatures
from .keys import Key, above, add_defaults, between, from_below, method_defaults, one_of, whole
from .precision import first_not_finite
from .prompting.image_batch import pixels_of
from .prompting.low_rank import LowRankUpdates
from .prompting.model import PromptedCLIP, normalise
from .prompting.own_weights import OwnWeights, with_weights
from .prompting.prompt_text import PromptSequences, words_of
from .prompting.templates import template_for
from .run import checkpoint

DEFAULTS = method_defaults()
DEFAULTS.PEFT = Key("ln", one_of("ln", "bitfit", "lora"))  # what stage 1 trains: layer norms (paper), biases, updates
# Which layer norms: those of the layers (authors' code), or ln_pre, ln_post and ln_final as well (paper)
DEFAULTS.NORMS = Key("layers", one_of("layers", "all"))
DEFAULTS.ITERATIONS = Key(300, whole(1))  # steps of the training for each shot (paper: M)
DEFAULTS.FRACTION = Key(0.6, between(0.01, 0.99))  # of the steps, those of stage 1 (paper: alpha)
DEFAULTS.RANK = Key(2, whole(1, 1024))  # of low-rank updates of q, k and v in all layers (authors' code)
DEFAULTS.ALPHA = Key(1.0, above(0))  # an update counts ALPHA / sqrt(RANK) times (authors' code)
DEFAULTS.DROPOUT = Key(0.25, from_below(0, 1))  # share of an update's input that training leaves out (authors' code)
add_defaults("TWOSFS", DEFAULTS)

LEARN = {  # of the parameters of an encoder, by PEFT and NORMS
    ("ln", "layers"): r"\.ln_[12]\.",
    ("ln", "all"): r"\bln_",
    ("bitfit", "layers"): r"\.bias$",  # not attention's in_proj_bias, as in the authors' code
}


class PromptLearner(nn.Module):
    """What stage 1 trains, of both encoders."""

    def __init__(self, cfg, classnames, clip_model, text_encoder, image_encoder):
        super().__init__()
        options, encoders = cfg.TRAINER.TWOSFS, (text_encoder, image_encoder)
        self.low_rank = options.PEFT == "lora"
        if self.low_rank:
            scale = options.ALPHA / options.RANK**0.5
            self.text, self.image = (
                LowRankUpdates(range(e.n_layers), "qkv", e.width, options.RANK, scale, options.DROPOUT)
                for e in encoders
            )
        else:
            norms = options.NORMS if options.PEFT == "ln" else "layers"
            fits = re.compile(LEARN[options.PEFT, norms]).search
            self.text, self.image = (OwnWeights(e, fits) for e in encoders)
        self.sequences = PromptSequences(clip_model, classnames, ending=template_for(cfg, {}))

    def encode_text(self, encoder):
        tokens = self.sequences()
        if self.low_rank:
            return encoder(tokens, self.text.apart, self.text)
        return self.text(encoder)(tokens)

    def encode_image(self, encoder, pixels):
        return encoder(pixels, beside=self.image) if self.low_rank else self.image(encoder)(pixels)


class CustomCLIP(PromptedCLIP):
    """The classifier is in `training_only`: a checkpoint has it with the names of the classes it was trained on."""

    stored: bool = False  # whether training has the adapted encoder's features of its pictures, which it need not read
    reads_text: bool = True  # whether a class here is none of the classifier's

    def __init__(self, cfg, classnames, clip_model):
        super().__init__(cfg, classnames, clip_model)
        self.require_vit("2SFS", cfg)
        self.prompt_learner = PromptLearner(cfg, classnames, clip_model, self.text_encoder, self.image_encoder)
        self.training_only["classifier"] = Classifier(len(classnames), clip_model.text_projection.shape[1])

    def reads_pixels(self, training):
        return not (training and self.stored)

    def encode_image(self, image):
        if self.stored and self.prompt_learner.training:
            return normalise(image.features(image.pixels))
        return normalise(self.prompt_learner.encode_image(self.image_encoder, pixels_of(image)))

    def encode_text(self):
        """The classifier's rows, unit length, and the text of the classes that it does not know."""
        w = self.training_only["classifier"].weight
        if not self.reads_text:
            return normalise(w)
        g = normalise(self.prompt_learner.encode_text(self.text_encoder))
        return torch.where((w != 0).any(dim=1, keepdim=True), normalise(w), g)

    def begin_second_stage(self, start):
        """From here on the classifier learns and nothing else. start: whether it starts as the text features."""
        self.prompt_learner.requires_grad_(False)
        for parameter in self.prompt_learner.parameters():
            parameter.grad = None  # the optimiser leaves those without one alone
        w = self.training_only["classifier"].weight
        if start:
            with torch.no_grad():
                w.copy_(self.encode_text())
        w.requires_grad_(True)
        self.reads_text = False

    def load_training_only(self, modules, classnames, path):
        """Take the rows of the classes that it was trained on; of a checkpoint of stage 1 there are none."""
        weights = {"weight": modules["classifier.weight"]} if "classifier.weight" in modules else {}
        if first_not_finite(weights.items()):
            raise checkpoint.wrong(path, "training", "holds infinite or NaN weights (classifier.weight)")
        w = self.training_only["classifier"].weight
        trained = Classifier(len(classnames), w.shape[1])
        checkpoint.load_weights(trained, weights, path)
        rows = {name: i for i, name in enumerate(told_apart(classnames))}
        found = [rows.get(name) for name in told_apart(self.classnames)]
        with torch.no_grad():
            w.zero_()
            for row, i in zip(w, found):
                if i is not None:
                    row.copy_(trained.weight[i])
        begun = bool(trained.weight.any())
        known = sum(i is not None for i in found) if begun else 0
        self.reads_text = known < len(found)
        print(f"{known} of {len(found)} classes are the classifier's, the others are told by their text")


class Classifier(nn.Module):
    """W (n_cls, dim), one row a class; a row of zeros: it does not know the class."""

    def __init__(self, n_cls, dim):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(n_cls, dim), requires_grad=False)


def told_apart(classnames):
    """Each class by its words and how many before it have the same: ImageNet has two names twice."""
    seen = Counter()
    for words in map(words_of, classnames):
        yield words, seen[words]
        seen[words] += 1


@TRAINER_REGISTRY.register()
class TwoSFS(CountedTrainer):
    """2SFS: Rethinking Few-Shot Adaptation of Vision-Language Models in Two Stages."""

    config_node = "TWOSFS"
    custom_clip = CustomCLIP

    @property
    def first_share(self):
        return self.cfg.TRAINER.TWOSFS.FRACTION

    def build_model(self):
        super().build_model()
        classifier = self.model.training_only["classifier"].weight.numel()
        if not self.stages:
            print("Note: a training of one epoch (OPTIM.MAX_EPOCH) has no second stage, and no classifier")
            return
        self.n_params += classifier
        last = self.epoch_ends[-1] - self.epoch_ends[self.stages[0]]
        print(f"Of the steps the last {last:,} train a classifier of {classifier:,} parameters and nothing else")

    def before_epoch(self):
        super().before_epoch()
        first, model = self.stages[0] if self.stages else self.max_epoch, self.model
        if self.epoch < first or not model.reads_text:
            return
        self.set_model_mode("eval")
        with self.precision.autocast():
            model.begin_second_stage(start=self.epoch == first)
        if self.views and not model.prompt_learner.low_rank:
            # Pictures that are the same in each epoch have the same features from here on
            model.stored = True
            own = {f"image_encoder.{name}": w for name, w in model.prompt_learner.image.named_parameters()}
            self.views.frozen = FrozenFeatures(self.cfg, with_weights(model, own), self.precision, self.device)
