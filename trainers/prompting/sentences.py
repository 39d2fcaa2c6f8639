"""Sentences about classes, from a file {class name: [sentence, ...]}, and their features of the frozen CLIP.

Those of CoPrompt (arXiv 2306.01195), HiCroPL (arXiv 2507.14976) and MMA++ are a large language model's.
"""

import ast
from typing import Any, List, NamedTuple, Sequence

import torch

from ..backbone.clip_loader import CONTEXT_LENGTH
from ..between_graphs import uniform
from ..errors import UserError
from ..files.edited_files import read_json, read_text
from .encoders import TextEncoder
from .model import normalise
from .prompt_text import PromptSequences, n_tokens, tokenize, words_of


class Sentences(NamedTuple):
    """Features of the classes' sentences."""

    features: torch.Tensor  # (sentences of all classes, dim), float32, of unit length: class after class
    counts: torch.Tensor  # (n_cls,) sentences of each class, int64

    def draw(self) -> torch.Tensor:
        """One sentence of each class, (n_cls, dim).

        All by one number u of [0, 1): of n sentences the one at floor(u n). So classes that have the same number of
        sentences get those of the same place, as in the authors' code, and in any class all are equally likely.
        """
        first = self.counts.cumsum(0) - self.counts
        return self.features[first + (uniform((), self.counts.device) * self.counts.double()).long()]

    def means(self) -> torch.Tensor:
        """The normalised mean of each class's sentences, (n_cls, dim)."""
        return torch.stack([normalise(each.mean(dim=0)) for each in self.features.split(self.counts.tolist())])


def read_sentences(path: str, classnames: Sequence[str], key: str, cut: bool = False) -> List[List[str]]:
    """Each class's sentences, of the file `path` that config key `key` names: JSON, or Python, see `_read`.

    Class names are looked up as they are spoken, underscores as spaces, and if they are not there in lower case. cut:
    whether the method cuts what is too long for CLIP. Raises UserError for a file that cannot be
    read or is none of this kind, a class that it lacks, and a sentence that has no words or is too long for CLIP.
    """
    said = f"The sentences {path} ({key})"
    try:
        found = _read(path)
    except OSError as error:
        raise UserError(f"{said} cannot be read ({error.strerror}): correct the path.") from error
    except ValueError as error:
        raise UserError(f"{said} are no JSON ({error}): write {{class name: [sentence, ...]}}.") from None
    if not isinstance(found, dict):
        raise UserError(f"{said} are no JSON object: write {{class name: [sentence, ...]}}.")
    spoken = {}
    for name in found:
        if words_of(name) in spoken:
            raise UserError(f'{said} have class "{words_of(name)}" twice, with spaces and underscores: write it once.')
        spoken[words_of(name)] = found[name]
    in_lower_case = {name.lower(): sentences for name, sentences in spoken.items()}
    of_class = {name: spoken.get(words_of(name), in_lower_case.get(words_of(name).lower())) for name in classnames}
    lacking = [name for name, sentences in of_class.items() if sentences is None]
    if lacking:
        others = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        raise UserError(f'{said} have none of class "{lacking[0]}"{others}: add some, or leave {key} out.')
    for name, sentences in of_class.items():
        _check(sentences, f'{said}, class "{name}",', cut)
    return [of_class[name] for name in classnames]


def _read(path):
    """What the file holds. Of Python (.py) it is the first dictionary that a name is given, which is not executed."""
    if not path.endswith(".py"):
        return read_json(path)
    try:
        for statement in ast.parse(read_text(path)).body:
            if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Dict):
                return ast.literal_eval(statement.value)
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"no Python either: {type(error).__name__}") from None
    raise ValueError("a Python file without a dictionary")


def _check(sentences: Any, said: str, cut: bool) -> None:
    if not isinstance(sentences, list) or not sentences or not all(isinstance(text, str) for text in sentences):
        raise UserError(f"{said} are no list of sentences: write one or more between [ and ].")
    for text in sentences:
        length = 2 + n_tokens(text)
        if length == 2:
            raise UserError(f'{said} include "{text}", which has no words: leave it out.')
        if length > CONTEXT_LENGTH and not cut:
            raise UserError(
                f'{said} include "{text}", which has {length} tokens with start and end, but CLIP reads '
                f"{CONTEXT_LENGTH}: shorten it."
            )


@torch.no_grad()
def encode_sentences(clip_model: torch.nn.Module, sentences: Sequence[Sequence[str]]) -> Sentences:
    """What the text encoder makes of each class's sentences, class by class."""
    encoder, device = TextEncoder(clip_model), clip_model.logit_scale.device
    features = []
    for texts in sentences:
        tokens = PromptSequences(clip_model, tokens=tokenize(list(texts))).to(device)()
        features.append(normalise(encoder(tokens)))
    return Sentences(torch.cat(features), torch.tensor([len(f) for f in features], device=device))
