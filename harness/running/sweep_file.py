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
from .grid import Task, methods_of, series_of, tasks_of
from .launch import Refused
from .protocols import PROTOCOLS


def read(path: str, seeds: Sequence[int] = (), pairs: Sequence[str] = ()) -> list[Task]:
    """The tasks of a sweep file; `seeds` take the place of its own, `pairs` win. Raises Refused and ValueError."""
    tree = read_config(path)

    def wrong(what):
        return Refused(2, f"{path} is no sweep: {what}")

    def section(keys, known, where):
        unknown = [key for key in keys if key not in known]
        if unknown:
            raise wrong(f"{where} has no {unknown[0]}; it has {', '.join(known)}")

    def listed(entry, name, kind, default=()):
        values = entry.get(name, default)
        if not isinstance(values, (list, tuple)) or not all(type(value) is kind for value in values):
            raise wrong(f"{name} must be a list of {'numbers' if kind is int else 'names'}, not {values!r}")
        return values

    def as_pairs(overrides):
        if not isinstance(overrides or {}, dict):
            raise wrong(f"overrides are keys and values, not {overrides!r}")
        return [text for pair in flatten(overrides or {}) for text in map(str, pair)]

    section(tree, ("parts", "seeds", "source", "overrides", "overrides_of", "variants"), "a sweep")
    entries = tree.get("parts")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise wrong("it needs parts, a list of protocols with their methods")
    series = []
    for entry in entries:
        section(entry, ("protocol", "methods", "datasets", "shots"), "a part")
        protocol, names = entry.get("protocol"), entry.get("methods")
        if protocol not in PROTOCOLS:
            raise wrong(f"protocol must be one of {', '.join(PROTOCOLS)}, not {protocol!r}")
        names = [names] if isinstance(names, str) else listed(entry, "methods", str)
        rest = listed(entry, "datasets", str), seeds or listed(tree, "seeds", int), listed(entry, "shots", int)
        try:
            series += [series_of(protocol, method, *rest, tree.get("source")) for method in methods_of(names, protocol)]
        except Refused as error:
            raise wrong(error) from None
    of = tree.get("overrides_of") or {}
    known = [method.folder for method in catalogue.METHODS]
    section(of, known, "overrides_of")
    of_all = as_pairs(tree.get("overrides"))
    variants = tree.get("variants") or {"": {}}
    if not isinstance(variants, dict) or not all(re.fullmatch(r"\w*", str(name)) for name in variants):
        raise wrong("variants are names (of letters, digits and _) with overrides")
    return [
        task
        for name, changed in variants.items()
        for task in tasks_of(
            series, {m: [*of_all, *as_pairs(of.get(m)), *as_pairs(changed), *pairs] for m in known}, str(name)
        )
    ]
