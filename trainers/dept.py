"""DePT: decoupled prompt tuning (arXiv 2309.07439), around another method.

Tuned on some classes, prompts fill most channels of the features with what is of these classes alone, and lose what new
classes would need. DePT gives that knowledge a place of its own: a channel-adjusted transfer (CAT) head beside the
image-text matching of the method that it wraps, BASE. The head scales and shifts each channel of the image features x
and of the text features t of the images' classes, and a linear classifier reads both:

    cat  = CE over 2B of W (s x + b) + c, with s, b of images for x and of text for t
    loss = (1 - WEIGHT) ce + WEIGHT cat + BASE's other terms, as they are.

The classifier is of the training classes. They are predicted by both, (1 - WEIGHT) matching + WEIGHT head of the image
(logits, as in the authors' code; the paper adds probabilities); all other classes by matching alone.

As in the authors' code, x and t are not of unit length. BASE classifies with unit features: x is BASE's image feature
(for SEP the ensemble) at the length that the encoder gave it, which for CoOp, KgCoOp, MaPLe and PromptSRC is the
encoder's own output. BASE is looked up by its name and its code is not changed: model and trainer are classes made of
BASE's and those here.
"""

from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, List

import torch
from torch import nn
from torch.nn import functional as F

from dassl.engine import TRAINER_REGISTRY

from .base import PromptTrainer
from .compat import autocast
from .errors import UserError
from .keys import Key, add_defaults, between, method_defaults, one_of
from .precision import first_not_finite
from .prompting.model import PromptedCLIP
from .run import checkpoint

BASES = ("CoOp", "KgCoOp", "MaPLe", "PromptSRC", "SEP", "E2MIM")

DEFAULTS = method_defaults()
DEFAULTS.BASE = Key("CoOp", one_of(*BASES))  # trainer that is wrapped, whose own node holds for all but PREC
DEFAULTS.WEIGHT = Key(0.7, between(0, 1))  # lambda, share of the head in loss and prediction (authors' code)
add_defaults("DEPT", DEFAULTS)


def base_of(cfg) -> type:
    """The trainer that TRAINER.DEPT.BASE names. Raises UserError if it is none of `BASES`."""
    name = cfg.TRAINER.DEPT.BASE
    trainer = TRAINER_REGISTRY.get(name) if name in TRAINER_REGISTRY.registered_names() else None
    if name not in BASES or not (trainer and issubclass(trainer, PromptTrainer)):
        raise UserError(
            f'TRAINER.DEPT.BASE "{name}" is no trainer that DePT can wrap, or not one that was added together with it: '
            f"choose from {', '.join(BASES)}."
        )
    return trainer


# ---- the head --------------------------------------------------------------------------------------------------


class ChannelTransform(nn.Module):
    """Scale and shift of each channel, the identity at the start (cwT)."""

    def __init__(self, dim):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(dim))
        self.shift = nn.Parameter(torch.zeros(dim))

    def forward(self, x):
        return self.scale * x + self.shift  # (B, dim)


class TransferHead(nn.Module):
    def __init__(self, dim, n_cls):
        super().__init__()
        self.image, self.text = ChannelTransform(dim), ChannelTransform(dim)
        self.linear = nn.Linear(dim, n_cls)

    def of_images(self, x):
        return self.linear(self.image(x))  # (B, dim) -> (B, n_cls)

    def of_texts(self, t):
        return self.linear(self.text(t))

    def rows(self, own: List[str], wanted: List[str]) -> "TransferHead":
        """Of a head of the classes `own`, that of some of them; of two with one name, the first."""
        if own == wanted:
            return self
        rows = [own.index(name) for name in wanted]
        self.linear.weight, self.linear.bias = (nn.Parameter(p[rows]) for p in (self.linear.weight, self.linear.bias))
        return self


# ---- the lengths of the features that BASE classifies with -------------------------------------------------------


class Outputs:
    """What the encoders have given in a pass of BASE, which makes its features of unit length."""

    def __init__(self):
        self.images, self.texts = [], []

    def image_length(self):
        """(B, 1), of the encoder's output for the batch: of the pass with BASE's tokens, if it has any."""
        prompted = [output for output, with_tokens in self.images if with_tokens]
        return _length((prompted or [output for output, _ in self.images])[0])

    def text_length(self):
        return _length(self.texts[0])  # (n_cls, 1)


def _length(features):
    return features.float().norm(dim=-1, keepdim=True)


_OUTPUTS: ContextVar = ContextVar("the outputs of the pass that is under way", default=None)  # of each thread


@contextmanager
def noting_outputs():
    """Inside, what the encoders of a `CustomCLIP` give is noted in the `Outputs` that this yields."""
    before = _OUTPUTS.set(Outputs())
    try:
        yield _OUTPUTS.get()
    finally:
        _OUTPUTS.reset(before)


def _note_image(_, args, output):
    if _OUTPUTS.get() is not None:
        _OUTPUTS.get().images.append((output, len(args) > 1))


def _note_text(_, args, output):
    if _OUTPUTS.get() is not None:
        _OUTPUTS.get().texts.append(output)


# ---- the model ---------------------------------------------------------------------------------------------------


class CustomCLIP(PromptedCLIP):
    """BASE's CustomCLIP, with the head in `training_only`. An object is of a class made of both, this one in front."""

    fuses: bool = False  # whether evaluation uses the head: it is trained, and of these classes

    def __new__(cls, cfg: Any = None, *_):
        if cfg is not None:  # not a copy
            cls = type(cls.__name__, (cls, base_of(cfg).custom_clip), {})
        return super().__new__(cls)

    def __init__(self, cfg, classnames, clip_model):
        super().__init__(cfg, classnames, clip_model)
        self.head_share = cfg.TRAINER.DEPT.WEIGHT
        self.training_only["cat"] = TransferHead(clip_model.text_projection.shape[1], len(self.classnames))
        self.image_encoder.register_forward_hook(_note_image)
        self.text_encoder.register_forward_hook(_note_text)

    @property
    def predicts_by_text(self):
        return not self.fuses

    def load_training_only(self, modules, classnames, path):
        """Take the head for classes that are all among those that it was trained on, in whatever order."""
        self.fuses = set(self.classnames) <= set(classnames)
        if not self.fuses:
            print("These classes are not those of the head: they are predicted by image-text matching alone")
            return
        weights = {name[len("cat.") :]: tensor for name, tensor in modules.items() if name.startswith("cat.")}
        bad = first_not_finite(weights.items())
        if bad:
            raise checkpoint.wrong(path, "training", f"holds infinite or NaN weights (cat.{bad})")
        head = TransferHead(self.text_encoder.text_projection.shape[1], len(classnames))
        checkpoint.load_weights(head, weights, path)
        self.training_only["cat"].load_state_dict(head.rows(classnames, self.classnames).state_dict())

    def forward(self, image, label=None, text_features=None):
        if label is not None or not self.fuses:
            return super().forward(image, label, text_features)
        with noting_outputs() as outputs:
            f = self.encode_image(image)
        g = self.encode_text() if text_features is None else text_features
        with autocast(f.device.type, enabled=False):
            of_images = self.training_only["cat"].of_images(outputs.image_length() * f)
            return self.fused(self.logits(f, g), of_images)

    def fused(self, matching, of_images):
        """The prediction (B, n_cls) of image-text matching and the head's of the images."""
        return (1 - self.head_share) * matching + self.head_share * of_images

    def training_pass(self, image, label):
        with noting_outputs() as outputs:
            f, g, matching, losses = super().training_pass(image, label)
        head, share = self.training_only["cat"], self.head_share
        with autocast(f.device.type, enabled=False):
            of_images = head.of_images(outputs.image_length() * f)
            of_texts = head.of_texts((outputs.text_length() * g)[label])
            cat = F.cross_entropy(torch.cat([of_texts, of_images]), label.repeat(2))
            logits = self.fused(matching, of_images)
        losses["ce"] = (1 - share) * losses["ce"]
        losses["cat"] = share * cat
        return f, g, logits, losses


@TRAINER_REGISTRY.register()
class DePT(PromptTrainer):
    """DePT: Decoupled Prompt Tuning. A trainer of a class made of BASE's and this one, this one in front."""

    config_node = "DEPT"
    custom_clip = CustomCLIP

    def __new__(cls, cfg):
        return super().__new__(type(cls.__name__, (cls, base_of(cfg)), {}))

    @classmethod
    def config_nodes(cls, cfg):
        return [cls.config_node, base_of(cfg).config_node]

    def check_cfg(self, cfg):
        super().check_cfg(cfg)
        node, prec = base_of(cfg).config_node, cfg.TRAINER.DEPT.PREC
        if cfg.TRAINER[node].PREC not in (DEFAULTS.PREC.default, prec):
            raise UserError(
                f"TRAINER.{node}.PREC is {cfg.TRAINER[node].PREC}, which DePT does not read: set TRAINER.DEPT.PREC."
            )

    def before_train(self):
        self.model.fuses = True  # the head is of these classes
        super().before_train()
