"""What a trained run's prompts are like: the words nearest to its context tokens, and the patches that SEP chooses.

    from inference.interpret import nearest_words

    for token in nearest_words(load_run(folder), top=3):
        print(token.layer, token.number, token.words)

Words are of CLIP's vocabulary. Figures of the patches are drawn by inference/overlay.py.
"""

import contextlib
import io
import os
from typing import NamedTuple, Optional, Union

import torch
from PIL import Image

from trainers.backbone.clip_loader import VOCABULARY, frozen_clip
from trainers.errors import UserError
from trainers.precision import Precision
from trainers.prompting.prompt_text import word_of

from .api import TrainedModel

AT_ONCE = 256  # tokens that are compared with the vocabulary at once: 50 MB of distances (our choice)


class Word(NamedTuple):
    """A token of CLIP's vocabulary, and its embedding's Euclidean distance from a context token."""

    word: str
    distance: float


class ContextToken(NamedTuple):
    """A learned token in the place of a word."""

    layer: int  # of the text encoder, from 0, that it enters; 0: the input, the only one where embeddings stand
    classname: Optional[str]  # whose it is; None: all classes share it
    number: int  # from 1
    words: list[Word]  # the nearest first


def nearest_words(model: TrainedModel, top: int = 5) -> list[ContextToken]:
    """The `top` words nearest to each token that a run has learned in their place (after CoOp, arXiv 2109.01134).

    Layer by layer, and class by class where each has its own; see `remarks`. Of a CLIP that was trained on some words
    alone (shapes-tiny) only these are named.
    """
    if top < 1:
        raise UserError(f"top is {top}: ask for 1 word or more.")
    tokens, embeddings = _vocabulary(model)
    names = [word_of(token) for token in tokens.tolist()]
    found = []
    for layer, context in _contexts(model).items():
        words = iter(_nearest(context.detach().flatten(0, -2).float().cpu(), embeddings, min(top, len(names))))
        for classname in [None] if context.dim() == 2 else model.classnames:
            for number in range(1, 1 + context.shape[-2]):
                nearest = [Word(names[i], distance) for distance, i in next(words)]
                found.append(ContextToken(layer, classname, number, nearest))
    return found


def remarks(model: TrainedModel) -> list[str]:
    """What has to be said beside `nearest_words`, in sentences."""
    layers = _contexts(model)
    said = [model._model.context_note] if layers else [f"{model.cfg.TRAINER.NAME} learns no context tokens."]
    if any(layer > 0 for layer in layers):
        said.append("Behind layer 0 tokens stand among outputs of layers, not embeddings: words near them mean little.")
    return [sentence for sentence in said if sentence]


def _contexts(model):
    with torch.no_grad(), model._precision.autocast():
        return model._model.context_tokens()


def _vocabulary(model) -> tuple[torch.Tensor, torch.Tensor]:
    """The tokens that the run's CLIP knows, (k,), and their embeddings, float32 (k, width)."""
    with contextlib.redirect_stdout(io.StringIO()):
        clip_model, _ = frozen_clip(model.cfg, Precision("fp32", "cpu"), torch.device("cpu"))
    tokens = getattr(clip_model, "known_tokens", None)
    tokens = torch.arange(VOCABULARY) if tokens is None else tokens
    return tokens, clip_model.token_embedding.weight[tokens]


def _nearest(context, embeddings, top):
    """(distance, row) of the `top` nearest embeddings to each context token (n, width), the nearest first."""
    for some in context.split(AT_ONCE):
        # by differences: by products, equal vectors would be up to 3e-4 apart
        distances = torch.cdist(some, embeddings, compute_mode="donot_use_mm_for_euclid_dist")
        values, rows = distances.topk(top, largest=False)
        yield from (list(zip(*row)) for row in zip(values.tolist(), rows.tolist()))


class Chosen(NamedTuple):
    """The tokens of a picture that a method chose, layer by layer."""

    image: Image.Image  # the part of the picture that the model saw
    grid: int  # patches in a row, and in a column
    layers: dict[int, list[int]]  # layer of the image encoder -> positions: 0 is CLS, 1 + row * grid + column a patch


def chosen_tokens(model: TrainedModel, picture: Union[str, os.PathLike, Image.Image]) -> Chosen:
    """Which tokens SEP takes as representative in front of each layer, that of the largest power first.

    They are taken on the model's own way through its image encoder. The picture is alone in its batch, which matters
    for VARIANT "released" only. Raises UserError for a method that chooses none, and for what is no picture.
    """
    with torch.no_grad(), model._precision.autocast():
        layers = model._model.chosen_tokens(model._batch(picture))
    if not layers:
        raise UserError(
            f"{model.cfg.TRAINER.NAME} chooses none of an image's tokens: leave --image out, or name a run of SEP."
        )
    image = Image.fromarray(model._image(picture))
    grid = round((len(model._model.image_encoder.visual.positional_embedding) - 1) ** 0.5)
    return Chosen(image, grid, {layer: positions[0].tolist() for layer, positions in layers.items()})
