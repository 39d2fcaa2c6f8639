"""From the tensors of a public checkpoint to those of the prompt learner here. Nothing is guessed or dropped."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Optional

import torch

from dassl.engine import TRAINER_REGISTRY
from trainers.errors import UserError
from trainers.files import torch_file
from trainers.precision import first_not_finite
from trainers.run import checkpoint

from .layouts import LAYOUTS, SEP_LAYERS, SEP_PARTS, SEP_TEMPLATES, Layout, Row, ignored

# Classes of the live objects in a checkpoint of Dassl: the warm-up scheduler's successor, and the optimizer in it
HARMLESS = frozenset(
    [f"torch.optim.{name}" for name in ("sgd.SGD", "adam.Adam", "adamw.AdamW", "rmsprop.RMSprop")]
    + [f"torch.optim.lr_scheduler.{name}" for name in ("CosineAnnealingLR", "StepLR", "MultiStepLR")]
    + [f"dassl.optim.lr_scheduler.{name}WarmupScheduler" for name in ("Constant", "Linear")]
    + ["dassl.optim.radam.RAdam"]
)
_REMEDY = "import another file"
_NUMBER = r"(\d{1,4})"  # of a layer; a name with more digits is none of a layer's


class Converted(NamedTuple):
    weights: dict[str, torch.Tensor]  # of the prompt learner here, float32
    settings: dict[str, Any]  # config keys that follow from the file: dotted key -> value
    epoch: int
    ignored: list[str]  # their names of what has no place here


def read(path: str) -> tuple[dict[str, torch.Tensor], int]:
    """(state dict, epoch) of a checkpoint of Dassl's layout. Raises UserError, see `torch_file.load`.

    What is beside them (optimizer, scheduler, validation result) is read as plain data and dropped.
    """
    state = torch_file.load(path, "Checkpoint", _REMEDY, legacy=True, inert=HARMLESS)
    if not isinstance(state, dict):
        raise UserError(f'Checkpoint "{path}" holds a {type(state).__name__} where a dict is expected: {_REMEDY}.')
    for key in ("state_dict", "epoch"):
        if key not in state:
            raise UserError(f'Checkpoint "{path}" is none that Dassl wrote: it has no "{key}"; {_REMEDY}.')
    weights, epoch = state["state_dict"], state["epoch"]
    named = isinstance(weights, dict) and all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in weights.items()
    )
    if not named:
        raise UserError(f'Checkpoint "{path}" is none that Dassl wrote: "state_dict" is no tensors by name; {_REMEDY}.')
    if isinstance(epoch, float) and epoch.is_integer():  # one of numpy's, once
        epoch = int(epoch)
    if type(epoch) is not int or epoch < 1:
        raise UserError(f'Checkpoint "{path}" is none that Dassl wrote: "epoch" is no number from 1; {_REMEDY}.')
    if checkpoint.epoch_of(path) not in (None, epoch):
        raise UserError(f'Checkpoint "{path}" is of epoch {epoch}, which is not that of its name: {_REMEDY}.')
    return weights, epoch


def node_of(trainer: str) -> str:
    """Name of a method's config node, TRAINER.<node>."""
    return TRAINER_REGISTRY.get(trainer).config_node


def convert(path: str, trainer: str, layers: Sequence[int] = ()) -> Converted:
    """Read the public checkpoint `path` of a method of `LAYOUTS`.

    layers: SEP's LAYERS that it was trained with; empty: 1 to 11, as its authors.

    Raises UserError: as `read`; for a tensor that is missing, that has no place here, whose shape is not that of the
    method, or that is infinite or NaN.
    """
    weights, epoch = read(path)
    layout = LAYOUTS[trainer]
    if trainer == "SEP":
        layers = _sep_layers(path, weights, layers)
    taken, left = match(path, trainer, weights, layers)
    sizes: dict[str, int] = {}
    for theirs, (_, row) in taken.items():
        _measure(path, trainer, theirs, weights[theirs], row.shape, sizes)
    for row in layout.rows:
        if row.layers:
            sizes[row.layers] = sum(other.theirs == row.theirs for _, other in taken.values())
    bad = first_not_finite((name, weights[name]) for name in taken)
    if bad:
        raise UserError(f'Checkpoint "{path}" holds infinite or NaN weights ({bad}): {_REMEDY}.')
    ours = {name: weights[theirs].float().clone() for theirs, (name, _) in taken.items()}
    settings = {f"TRAINER.{node_of(trainer)}.{key}": value for key, value in layout.settings(sizes).items()}
    return Converted(ours, settings, epoch, left)


# ---- names -----------------------------------------------------------------------------------------------------------


def match(
    path: str, trainer: str, names: Iterable[str], layers: Sequence[int] = SEP_LAYERS
) -> tuple[dict[str, tuple[str, Row]], list[str]]:
    """Names of theirs that are taken -> our name and the layout's row, and names that are knowingly left behind.

    layers: SEP's. Raises UserError, naming the checkpoint `path`, if one is missing or has no place.
    """
    layout, names = LAYOUTS[trainer], list(names)
    left = ignored(layout, names)
    present, behind = set(names), set(left)
    if trainer == "SEP":
        left += [name for name in names if name not in behind and (_fusion(name) or 0) >= len(layers)]
        behind.update(left)
    wanted = {}
    for row in layout.rows:
        numbers = range(row.first, row.first + _n_layers(layout, row.layers, present - behind))
        for i in numbers if row.layers else (0,):
            wanted[row.theirs.format(i)] = _placed(row.ours.format(i + row.shift), layers), row
    for name in wanted:
        if name not in present:
            raise UserError(
                f'Checkpoint "{path}" is none of {trainer}\'s public code: "{name}" is missing; name the trainer that '
                f"it is of with --trainer."
            )
    for name in names:
        if name not in wanted and name not in behind:
            raise UserError(
                f'Checkpoint "{path}" holds "{name}", which {trainer}\'s public code does not have: name the trainer '
                f"that it is of with --trainer."
            )
    return wanted, left


def _n_layers(layout: Layout, layers: str, names: Collection[str]) -> int:
    """How many layers have tensors of the rows with that name of their number: as many as any of them reaches to."""
    last = 0
    for row in layout.rows:
        if row.layers and row.layers == layers:
            pattern = re.compile(re.escape(row.theirs).replace(r"\{\}", _NUMBER))
            last = max([last, *(int(m[1]) + 1 - row.first for m in map(pattern.fullmatch, names) if m)])
    return last


# ---- shapes ----------------------------------------------------------------------------------------------------------


def _measure(path, trainer, name, tensor, shape, sizes):
    """Check a tensor's shape against `Row.shape`; sizes that it shows first are added to `sizes`."""
    terms = shape.split()
    if terms[0].endswith("?"):
        terms = [terms[0][:-1], *terms[1:]] if tensor.dim() == len(terms) else terms[1:]
    if tensor.dim() != len(terms) or not tensor.is_floating_point() or 0 in tensor.shape:
        raise _misshapen(path, trainer, name, tensor, terms)
    for n, term in zip(tensor.shape, terms):
        if term.isidentifier():
            known = sizes.setdefault(term, n)
        else:
            known = 1
            for factor in term.split("*"):
                known *= sizes[factor] if factor.isidentifier() else int(factor)
        if known != n:
            raise _misshapen(path, trainer, name, tensor, [f"{term}={sizes.get(term, known)}" for term in terms])


def _misshapen(path, trainer, name, tensor, terms):
    kind = "" if tensor.is_floating_point() else " of whole numbers"
    return UserError(
        f'Checkpoint "{path}" holds "{name}" of shape {tuple(tensor.shape)}{kind}, where {trainer} has '
        f"({', '.join(terms)}): {_REMEDY}."
    )


# ---- SEP -------------------------------------------------------------------------------------------------------------


def _fusion(name: str) -> Optional[int]:
    """The number of the fusion module that a tensor is of."""
    match = re.match(rf"(?:{'|'.join(SEP_TEMPLATES)})\.{_NUMBER}\.", name)
    return int(match[1]) if match else None


def _sep_layers(path: str, weights: Mapping[str, torch.Tensor], layers: Sequence[int]) -> Sequence[int]:
    """The LAYERS of the file. Its modules are numbered by their place in them, and there are more than are used.

    Those that training has not touched are as their template is. Raises UserError if others were trained than the
    first `len(layers)`.
    """
    trained = [i for i in sorted({_fusion(name) for name in weights} - {None}) if _is_trained(weights, i)]
    n = len(trained)
    if trained != list(range(n)) or (layers and len(layers) != n):
        which = ", ".join(map(str, trained)) or "none"
        raise UserError(
            f'Checkpoint "{path}" has trained fusion modules {which} (from 0), which is not what '
            f"{len(layers) or 'some first'} LAYERS leave behind: give those it was trained with, "
            f'TRAINER.SEP.LAYERS "[3, 6, 9]".'
        )
    if not layers and n != len(SEP_LAYERS):
        raise UserError(
            f'Checkpoint "{path}" was trained with {n} LAYERS, and does not say which: give them, TRAINER.SEP.LAYERS '
            f'"[3, 6, 9]".'
        )
    return sorted(layers) if layers else SEP_LAYERS


def _is_trained(weights, i):
    for stack, template in SEP_TEMPLATES.items():
        for part in SEP_PARTS:
            one, start = weights.get(f"{stack}.{i}.{part}"), weights.get(f"{template}.{part}")
            if one is None or start is None or one.shape != start.shape:
                continue
            if not torch.equal(one.float(), start.to(one.dtype).float()):  # theirs are cast to fp16 after copying
                return True
    return False


def _placed(name: str, layers: Sequence[int]) -> str:
    """Our name of a fusion module's tensor, with the layer in the place of the module's number; others as they are."""
    stack, _, rest = name.partition(".")
    if stack not in ("text_enhancer", "image_enhancer"):
        return name
    number, _, part = rest.partition(".")
    return f"{stack}.{layers[int(number)]}.{part}"
