"""A method's model at ViT-B/16's geometry with random weights, at its default settings, and batches for it."""

import contextlib
import copy
import functools
import io
import itertools

import torch

from dassl.engine import TRAINER_REGISTRY
from trainers.backbone.clip_loader import cast_weights
from trainers.precision import Precision

# isort: split
from clip.model import CLIP

from .config import REPOSITORY, config_of

GEOMETRY = 512, 224, 12, 768, 16, 77, 49408, 512, 8, 12  # as clip.model.CLIP takes it
ADJECTIVES = "red green blue yellow black white big small old new".split()
NOUNS = "airplane accordion butterfly camera dolphin elephant ferry gramophone helicopter lamp owl piano rose".split()


def names_of(n):
    """n class names: the 120 of two words, then those of more."""
    words = itertools.chain.from_iterable(
        itertools.product(NOUNS, *[ADJECTIVES] * k)
        for k in itertools.count(1)  # reversed below: names that follow each other differ in their first word
    )
    return [" ".join(reversed(name)) for name in itertools.islice(words, n)]


def model_of(name, n_cls, prec="fp32", device="cpu", settings=(), geometry=None):
    """A method's CustomCLIP of n_cls classes, in training mode, and its Precision.

    settings: flags (`--config-file FILE`), then KEY VALUE pairs. geometry: instead of ViT-B/16's.
    """
    node, size = TRAINER_REGISTRY.get(name).config_node, (geometry or GEOMETRY)[1]
    data = f"--seed 1 --root . --output-dir . --dataset-config-file {REPOSITORY}/configs/datasets/imagenet.yaml"
    last = ["INPUT.SIZE", f"({size}, {size})", f"TRAINER.{node}.PREC", prec]
    cfg = config_of([*data.split(), "--trainer", name, *settings, *last])
    with contextlib.redirect_stdout(io.StringIO()):
        precision = Precision(prec, device)
        clip_model = cast_weights(copy.deepcopy(_clip(geometry or GEOMETRY)), precision.encoder_dtype).to(device)
        torch.manual_seed(0)
        return TRAINER_REGISTRY.get(name).custom_clip(cfg, names_of(n_cls), clip_model).to(device).train(), precision


@functools.lru_cache(maxsize=2)
def _clip(geometry):
    """Drawing the weights takes longer than copying them."""
    torch.manual_seed(0)
    return CLIP(*geometry)


def batch_of(size, n_cls, device="cpu", geometry=None):
    """Pictures and labels."""
    side = (geometry or GEOMETRY)[1]
    images = torch.randn(size, 3, side, side, generator=torch.Generator().manual_seed(1))
    return images.to(device), (torch.arange(size) % n_cls).to(device)


def step(model, precision, batch, forward=None):
    """Forward and backward, without the optimiser; forward: what is called in the model's place."""
    model.monitors.clear()
    model.zero_grad(set_to_none=True)
    with precision.autocast():
        _, losses = (forward or model)(*batch)
    model.backward(losses)


@torch.no_grad()
def evaluate(model, precision, images):
    """Text once, then the logits of some images."""
    model.eval()
    with precision.autocast():
        text = None if model.text_depends_on_image else model.encode_text()
        return model(images, text_features=text)
