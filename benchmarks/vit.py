"""A method's model at ViT-B/16's geometry with random weights, at its default settings, and batches for it."""

import contextlib
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


def model_of(name, n_cls, prec="fp32", device="cpu"):
    """A method's CustomCLIP of n_cls classes, in training mode, and its Precision."""
    node, size = TRAINER_REGISTRY.get(name).config_node, GEOMETRY[1]
    data = f"--seed 1 --root . --output-dir . --dataset-config-file {REPOSITORY}/configs/datasets/imagenet.yaml"
    settings = ["INPUT.SIZE", f"({size}, {size})", f"TRAINER.{node}.PREC", prec]
    cfg = config_of([*data.split(), "--trainer", name, *settings])
    torch.manual_seed(0)
    with contextlib.redirect_stdout(io.StringIO()):
        precision = Precision(prec, device)
        clip_model = cast_weights(CLIP(*GEOMETRY), precision.encoder_dtype).to(device)
        return TRAINER_REGISTRY.get(name).custom_clip(cfg, names_of(n_cls), clip_model).to(device).train(), precision


def batch_of(size, n_cls, device="cpu"):
    """Pictures and labels."""
    images = torch.randn(size, 3, GEOMETRY[1], GEOMETRY[1], generator=torch.Generator().manual_seed(1))
    return images.to(device), (torch.arange(size) % n_cls).to(device)


def step(model, precision, batch):
    """Forward and backward, without the optimiser."""
    model.zero_grad(set_to_none=True)
    with precision.autocast():
        _, losses = model(*batch)
    model.backward(losses)


@torch.no_grad()
def evaluate(model, precision, images):
    """Text once, then the logits of some images."""
    model.eval()
    with precision.autocast():
        text = None if model.text_depends_on_image else model.encode_text()
        return model(images, text_features=text)
