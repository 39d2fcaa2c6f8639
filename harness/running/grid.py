"""A grid of runs: methods, data sets, seeds, shots and overrides of some protocols, from flags or YAML.

A sweep file (configs/sweeps/) holds

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

import os
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Optional

from .. import catalogue
from . import launch
from .protocols import FEW_SHOT, PROTOCOLS, SEEDS, SHOTS, Job, jobs_of


class Part(NamedTuple):
    """A protocol of one method: the runs that `jobs_of` makes of it."""

    protocol: str
    method: catalogue.Method
    datasets: Sequence[str]
    seeds: Sequence[int] = SEEDS
    shots: Sequence[int] = (SHOTS,)
    source: str = "imagenet"


class Run(NamedTuple):
    """A job, and the KEY VALUE pairs that it is given, it and the training that it learns from."""

    job: Job
    pairs: tuple
    teacher_pairs: tuple = ()

    def __str__(self):
        config = self.job.config() if self.job.teaches else ""  # not the one that its method has otherwise
        return self.job.command + "".join(f" ({text})" for text in (config, self.job.variant) if text)

    @property
    def needs(self) -> Optional["Run"]:
        """The training that it tests, or learns from."""
        if self.job.needs:
            return self._replace(job=self.job.needs)
        teacher = self.job.teacher(self.pairs)
        return teacher and Run(teacher, self.teacher_pairs)

    def folder(self, settings: launch.Settings) -> str:
        return self.job.place(self.job.config(self.pairs, settings.cfg), self.pairs).below(settings.output)


def part_of(protocol, method, datasets=(), seeds=(), shots=(), source="") -> Part:
    """A part with the papers' values for what is empty."""
    source = source or "imagenet"
    datasets = datasets or catalogue.targets(protocol, source)
    shots = shots or (FEW_SHOT if protocol == "few_shot" else (SHOTS,))
    return Part(protocol, method, datasets, seeds or SEEDS, shots, source)


def check(part: Part):
    """Raises Refused for a protocol that the method does not have, and for a data set that has no config."""
    launch.need_protocol(part.method, part.protocol)
    for name in (*part.datasets, part.source):
        launch.need_dataset(name)


def methods_of(names: Sequence[str], protocol: str) -> list[catalogue.Method]:
    """The methods of these names; of "all" those that have the protocol. Raises Refused for a name that is none."""
    known = {method.folder: method for method in catalogue.METHODS}
    if list(names) == ["all"]:
        return [method for method in known.values() if method.has(protocol)]
    for name in names:
        if name not in known:
            raise launch.Refused(2, f'no method "{name}"; there are {", ".join(known)}')
    return [known[name] for name in names]


def behind_teacher(run: Run) -> list[Run]:
    """A run, behind the training that it learns from, if there is one."""
    return [run.needs, run] if run.job.teacher(run.pairs) else [run]


def runs_of(parts: Iterable[Part], pairs_of=None, variant="") -> list[Run]:
    """The runs of all parts, each once and behind what it needs; `pairs_of` {method: its pairs}. Raises Refused."""
    runs = {}
    for part in parts:
        check(part)
        if len(part.shots) > 1 and part.protocol != "few_shot":
            raise launch.Refused(2, f"several shots ({', '.join(map(str, part.shots))}) are for few_shot alone")
        pairs = tuple((pairs_of or {}).get(part.method.folder, ()))
        launch.check_pairs(pairs, "a sweep")
        teacher = part.method.teacher(pairs)
        its_pairs = tuple((pairs_of or {}).get(catalogue.method_of(teacher).folder, ())) if teacher else ()
        for job in jobs_of(*part):
            runs.update(dict.fromkeys(behind_teacher(Run(job._replace(variant=variant), pairs, its_pairs))))
    return list(runs)


def read(path: str, seeds: Sequence[int] = (), pairs: Sequence[str] = ()) -> list[Run]:
    """The runs of a sweep file; `seeds` take the place of its own, `pairs` win. Raises Refused and ValueError."""
    from ..config import flatten, read_config  # scripts start without YAML

    tree = read_config(path)

    def wrong(what):
        return launch.Refused(2, f"{path} is no sweep: {what}")

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
    parts = []
    for entry in entries:
        section(entry, ("protocol", "methods", "datasets", "shots"), "a part")
        protocol, names = entry.get("protocol"), entry.get("methods")
        if protocol not in PROTOCOLS:
            raise wrong(f"protocol must be one of {', '.join(PROTOCOLS)}, not {protocol!r}")
        names = [names] if isinstance(names, str) else listed(entry, "methods", str)
        rest = listed(entry, "datasets", str), seeds or listed(tree, "seeds", int), listed(entry, "shots", int)
        try:
            parts += [part_of(protocol, method, *rest, tree.get("source")) for method in methods_of(names, protocol)]
        except launch.Refused as error:
            raise wrong(error) from None
    of = tree.get("overrides_of") or {}
    known = [method.folder for method in catalogue.METHODS]
    section(of, known, "overrides_of")
    of_all = as_pairs(tree.get("overrides"))
    variants = tree.get("variants") or {"": {}}
    if not isinstance(variants, dict) or not all(re.fullmatch(r"\w*", str(name)) for name in variants):
        raise wrong("variants are names (of letters, digits and _) with overrides")
    return [
        run
        for name, changed in variants.items()
        for run in runs_of(
            parts, {m: [*of_all, *as_pairs(of.get(m)), *as_pairs(changed), *pairs] for m in known}, str(name)
        )
    ]


def clear(runs: Sequence[Run], settings: launch.Settings) -> launch.Settings:
    """FORCE=1: delete what there is of these runs, once; returns the settings to go on with. Raises Refused.

    Teachers stay, unless their method was asked for as well: then their own tests are among the runs.
    """
    teachers = {run.needs for run in runs if run.job.teacher(run.pairs)} - {r.needs for r in runs if r.job.needs}
    for folder in (run.folder(settings) for run in runs if run not in teachers):
        if os.path.isdir(folder):
            launch.clear(folder)
    return settings._replace(force=False)


def missing_data(runs: Iterable[Run], settings: launch.Settings) -> dict[str, str]:
    """{data set: folder} of the data sets of these runs whose folder is not there. A loader's file names it."""
    missing = {}
    looked_for = [run.job for run in runs if "DATASET.ROOT" not in run.pairs]
    for name in sorted({name for job in looked_for for name in (job.dataset, job.source)}):
        try:
            with open(os.path.join(launch.ROOT, "datasets", f"{name}.py"), encoding="utf-8") as file:
                folder = next(line for line in file if line.strip().startswith('dataset_dir = "')).split('"')[1]
        except (OSError, StopIteration):  # drawn here, or the user's own: the run says what it lacks
            continue
        folder = os.path.join(settings.data, folder)
        if not os.path.isdir(folder):
            missing[name] = folder
    return missing
