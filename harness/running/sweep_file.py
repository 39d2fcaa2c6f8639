"""A sweep file (configs/sweeps/) holds

seeds: [1, 2, 3]           # default
source: imagenet           # default; what xd and dg train on
parts:
  - protocol: base2new     # base2new | xd | dg | few_shot
    methods: [coop, sep]   # folders of scripts/, or all
    datasets: [dtd]        # default: the papers'; of xd and dg the targets
    shots: [16]            # default; of few_shot several, 1 2 4 8 16
overrides:                 # config keys of all runs, those that others learn from included
  OPTIM.MAX_EPOCH: 10
overrides_of:              # config keys of a method's runs, which win
  sep: {TRAINER.SEP.W: 4.0}
variants:                  # all runs once with each of these overrides, which win over both, in folders CONFIG@NAME
  four_tokens: {TRAINER.SEP.N_CTX: 4}
"""

import re
from collections.abc import Sequence

from .. import catalogue
from ..config import flatten, read_config
from ..edited import check, shown
from ..errors import UserError
from .grid import Task, methods_of, series_of, tasks_of
from .launch import Refused, check_pairs
from .protocols import PROTOCOLS

_NAMES, _NUMBERS, _OVERRIDES = [str], [int], ({}, type(None))
PART = {"protocol": str, "methods": (str, _NAMES), "datasets": _NAMES, "shots": _NUMBERS}
SHAPE = {
    "parts": [PART],
    "seeds": _NUMBERS,
    "source": str,
    "overrides": _OVERRIDES,
    "overrides_of": ({str: _OVERRIDES}, type(None)),
    "variants": ({str: _OVERRIDES}, type(None)),
}


def read(path: str, seeds: Sequence[int] = (), pairs: Sequence[str] = ()) -> list[Task]:
    """The tasks of a sweep file; `seeds` take the place of its own, `pairs` win. Raises Refused and ValueError."""
    tree = read_config(path)

    def wrong(what):
        return Refused(2, f"{path} is no sweep: {what}")

    def section(keys, known, where):
        unknown = [key for key in keys if key not in known]
        if unknown:
            raise wrong(f"{where} has no {unknown[0]}; it has {', '.join(known)}")

    def as_pairs(overrides):
        found = [text for pair in flatten(overrides or {}) for text in map(str, pair)]
        check_pairs(found, path)
        return found

    section(tree, SHAPE, "a sweep")
    try:
        check(tree, SHAPE)
    except UserError as error:
        raise wrong(error) from None
    if not tree.get("parts"):
        raise wrong("it needs parts, a list of protocols with their methods")
    series = []
    for entry in tree["parts"]:
        section(entry, PART, "a part")
        protocol, names = entry.get("protocol"), entry.get("methods", [])
        if protocol not in PROTOCOLS:
            raise wrong(f"protocol must be one of {', '.join(PROTOCOLS)}, not {shown(protocol)}")
        names = [names] if isinstance(names, str) else names
        rest = entry.get("datasets", ()), seeds or tree.get("seeds", ()), entry.get("shots", ())
        if any(number < 0 for number in (*rest[1], *rest[2])):
            raise wrong("seeds and shots must not be below 0")
        try:
            series += [series_of(protocol, method, *rest, tree.get("source")) for method in methods_of(names, protocol)]
        except Refused as error:
            raise wrong(error) from None
    of = tree.get("overrides_of") or {}
    known = [method.folder for method in catalogue.METHODS]
    section(of, known, "overrides_of")
    of_all, of_each = as_pairs(tree.get("overrides")), {name: as_pairs(of.get(name)) for name in known}
    variants = tree.get("variants") or {"": {}}
    if not all(re.fullmatch(r"\w*", name) for name in variants):
        raise wrong("variants are names (of letters, digits and _) with overrides")
    return [
        task
        for name, changed in variants.items()
        for task in tasks_of(series, {m: [*of_all, *of_each[m], *as_pairs(changed), *pairs] for m in known}, name)
    ]
