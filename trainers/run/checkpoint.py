"""Checkpoints on disk: where they lie, what they hold, and the random state in them.

Layout as Dassl's: `<run>/prompt_learner/model.pth.tar-<epoch>`, `model-best.pth.tar`, and `checkpoint` naming
the newest. How such files are verified is in torch_file.py.
"""

import io
import json
import os
import re
from typing import Any, Dict, List, Mapping, Optional, Set

import torch
from torch import nn

from ..errors import UserError
from ..files import torch_file
from ..files.whole_files import cannot_write, write_whole
from ..precision import first_not_finite

BEST = "model-best.pth.tar"
_NAME = re.compile(r"model\.pth\.tar-([1-9][0-9]*)")

# ---- places ------------------------------------------------------------------------------------------------


def name_of(epoch: int) -> str:
    return f"model.pth.tar-{epoch}"


def path_of(folder: str, epoch: int) -> str:
    return os.path.join(folder, name_of(epoch))


def epoch_of(path: str) -> Optional[int]:
    """The epoch (from 1) that the name of a checkpoint says; None if it says none, as that of the best."""
    match = _NAME.fullmatch(os.path.basename(path))
    return int(match.group(1)) if match else None


def epochs_in(folder: str) -> List[int]:
    """Epochs (from 1) that `folder` has a checkpoint of, ascending. Raises UserError if it cannot be looked into."""
    try:
        names = os.listdir(folder) if os.path.isdir(folder) else []
    except OSError as error:
        raise UserError(f'Folder "{folder}" cannot be read ({error.strerror}): mend its permissions.') from error
    return sorted(epoch for epoch in map(epoch_of, names) if epoch is not None)


def prune(folder: str, keep: Set[int]) -> None:
    """Remove the checkpoints of all epochs but those in `keep`."""
    for epoch in epochs_in(folder):
        if epoch not in keep:
            path = path_of(folder, epoch)
            try:
                os.remove(path)
            except OSError as error:
                raise cannot_write(path, error) from error


def set_aside(path: str) -> str:
    """Rename a damaged file to one that nothing reads and nothing overwrites; returns its new name."""
    aside, n = f"{path}.damaged", 1
    while os.path.lexists(aside):
        n += 1
        aside = f"{path}.damaged-{n}"
    try:
        os.rename(path, aside)
    except OSError as error:
        raise cannot_write(path, error) from error
    return aside


# ---- content -----------------------------------------------------------------------------------------------


def write(state: Mapping[str, Any], path: str) -> None:
    """Write a checkpoint, whole or not at all; `checkpoint` beside it then names the file. Raises UserError."""
    content = io.BytesIO()  # torch.save hides what a disk says
    torch.save(state, content)
    folder, name = os.path.split(path)
    write_whole(path, lambda f: f.write(content.getbuffer()))
    write_whole(os.path.join(folder, "checkpoint"), lambda f: f.write(f"{name}\n".encode()))


def read(path: str, remedy: str = "use another one") -> Dict[str, Any]:
    """The saved dict, on the CPU. What it must and may hold is in `_EXPECTED`; nothing in it is of another type.

    Raises as `torch_file.load` (DamagedFile, MissingFile, UserError), and UserError, naming the key, for a dict that
    is no checkpoint or of another epoch than its name says.
    """
    state = torch_file.load(path, "Checkpoint", remedy)
    if not isinstance(state, dict):
        raise UserError(
            f'Checkpoint "{path}" holds a {type(state).__name__} where a dict is expected: use another one.'
        )
    for key in state:
        if not isinstance(key, str):
            raise wrong(path, repr(key), "is a key that is not text")
    for key, (is_right, expected) in _EXPECTED.items():
        if key not in state and key in _REQUIRED:
            raise wrong(path, key, "is missing")
        if key in state and not is_right(state[key]):
            raise wrong(path, key, f"is not {expected}")
    said = epoch_of(path)
    if said is not None and said != state["epoch"]:
        raise wrong(path, "epoch", f"is {state['epoch']}, which is not that of the file's name")
    return state


def wrong(path: str, key: str, what: str) -> UserError:
    """The error for users of a checkpoint that can be read but not used."""
    return UserError(f'Checkpoint "{path}" is none of this project: "{key}" in it {what}; use another one.')


def _is_text(value):
    return isinstance(value, str)


def _is_weights(value):
    return isinstance(value, dict) and all(_is_text(k) and isinstance(v, torch.Tensor) for k, v in value.items())


def _is_settings(value):
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return isinstance(value, dict) and all(map(_is_text, value))


def _is_training(value):
    return isinstance(value, dict) and all(
        key in value and is_right(value[key])
        for key, is_right in {
            "modules": _is_weights,
            "precision": lambda v: isinstance(v, dict),
            "random": lambda v: isinstance(v, dict),
            "best_result": lambda v: isinstance(v, float) and v == v,
        }.items()
    )


_REQUIRED = ("state_dict", "epoch")
_EXPECTED = {
    "state_dict": (_is_weights, "tensors by name"),
    "epoch": (lambda v: type(v) is int and v >= 1, "a number from 1"),
    "val_result": (lambda v: v is None or (isinstance(v, (int, float)) and v == v), "a number"),
    "backbone": (
        lambda v: (
            isinstance(v, dict)
            and _is_text(v.get("name"))
            and isinstance(v.get("fingerprint"), int)
            and _is_text(v.get("weights", ""))
        ),
        "a name with a fingerprint",
    ),
    "classnames": (lambda v: isinstance(v, list) and all(map(_is_text, v)), "a list of names"),
    "settings": (_is_settings, "config values by key"),
    "data": (_is_text, "a checksum"),
    "pictures": (lambda v: v is None or _is_text(v), "a digest"),
    "imported": (lambda v: isinstance(v, dict) and all(map(_is_text, v.values())), "words about a file"),
    "seconds": (lambda v: isinstance(v, float) and 0 <= v < float("inf"), "seconds"),
    "optimizer": (
        lambda v: isinstance(v, dict) and isinstance(v.get("state"), dict) and isinstance(v.get("param_groups"), list),
        "the state of an optimizer",
    ),
    "training": (_is_training, 'a dict of "modules", "precision", "random" and "best_result"'),
}


# ---- what is loaded ----------------------------------------------------------------------------------------


def check_weights(own: Mapping[str, torch.Tensor], weights: Mapping[str, torch.Tensor], path: str) -> None:
    """Raise UserError naming the first difference in names, shapes or kinds of number."""
    for name in sorted(own.keys() | weights.keys()):
        found, wanted = (_looks(weights, name), _looks(own, name))
        if found != wanted:
            raise UserError(
                f'Checkpoint "{path}" does not fit this model: {name} is {found} there and {wanted} here; use the '
                f"backbone, method and config it was trained with."
            )


def _looks(weights, name):
    if name not in weights:
        return "nothing"
    return f"{tuple(weights[name].shape)}{'' if weights[name].is_floating_point() else ' of whole numbers'}"


def check_finite(weights: Mapping[str, torch.Tensor], path: str) -> None:
    """Raise UserError naming the first of these weights that is infinite or NaN."""
    bad = first_not_finite(weights.items())
    if bad:
        raise UserError(
            f'Checkpoint "{path}" holds infinite or NaN weights ({bad}): load an earlier epoch, or train again '
            f"with a lower OPTIM.LR."
        )


def load_weights(module: nn.Module, weights: Mapping[str, torch.Tensor], path: str) -> None:
    """Strict load_state_dict. Raises as `check_weights`."""
    check_weights(module.state_dict(), weights, path)
    module.load_state_dict(weights)
