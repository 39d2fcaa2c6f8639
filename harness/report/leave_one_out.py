"""Averages without each data set in turn: which order of methods hangs on one data set, or on the seeds."""

import statistics
from collections import defaultdict
from typing import NamedTuple

from .measured import Measured, measured
from .results import MISSING, ORDER, combine, number, over_seeds, rank, shots_rank
from .tables import Table, leave_out, method_text

# What of a protocol has one average that methods are ranked by; of few-shot, each number of shots has
_RANKED = {"base2new": ("H",), "joint": ("H", "OpenworldAUC"), "xd": ("accuracy",), "dg": ("accuracy",)}
NOTES = [
    "Averages in % over the data sets, and over all but one. A method that lacks one of them is left out.",
    "Behind without: methods that are below it here, and above it if that data set is left out.",
    "Within the spread of: methods below it by less than the larger standard deviation over seeds of the two.",
]


class Method(NamedTuple):
    trainer: str
    config: str
    of: dict  # data set -> Measured

    @property
    def name(self) -> str:
        return method_text(self.trainer)

    def average(self, without: str = "") -> float:
        """From the averages of each cell, as H of several data sets is."""
        kept = [one for dataset, one in self.of.items() if dataset != without]
        return combine(*(statistics.fmean(cells) for cells in zip(*map(_means, kept))))

    @property
    def by_seed(self) -> dict:
        """The average of each seed; empty if data sets or halves are of different ones."""
        cells = [list(one.cells.values()) for one in self.of.values()]
        seeds = [tuple(cell.by_seed) for each in cells for cell in each]
        if len(set(seeds)) != 1:
            return {}
        per_seed = {seed: [[cell.by_seed[seed] for cell in each] for each in cells] for seed in seeds[0]}
        return {seed: combine(*map(statistics.fmean, zip(*values))) for seed, values in per_seed.items()}

    @property
    def spread(self) -> float:
        return statistics.pstdev(self.by_seed.values()) if len(self.by_seed) > 1 else 0.0


def _means(one: Measured):
    return [cell.mean for cell in one.cells.values()]


class Complete(NamedTuple):
    """Those methods of an average over several data sets that have all of these."""

    title: str
    datasets: list
    methods: list  # of Method


def complete_methods(runs, protocol: str) -> tuple:
    """([Complete] for each average of a protocol over several data sets, sentences of `unmix`)."""
    found, mixed = measured(runs, protocol)
    groups = defaultdict(lambda: defaultdict(dict))  # (title, of, folder, shots) -> (trainer, config) -> data set
    for one in found:
        if one.of in _RANKED.get(protocol, (one.of,)) and one.dataset != (one.source or "source"):
            groups[one.title, one.of, one.folder, one.shots][one.trainer, one.config][one.dataset] = one
    complete = []
    for (title, of, folder, shots), methods in sorted(groups.items(), key=lambda g: (*g[0][:3], shots_rank(g[0][3]))):
        datasets = sorted({name for its in methods.values() for name in its}, key=lambda name: rank(ORDER, name))
        whole = [
            Method(trainer, config, {name: its[name] for name in datasets})
            for (trainer, config), its in methods.items()
            if len(its) == len(datasets) and all(one.value is not None for one in its.values())
        ]
        if len(datasets) > 1 and whole:
            place = ", ".join([of, *[f"{shots} shots"] * bool(shots), *[folder] * (folder not in ("", "."))])
            complete.append(Complete(f"{title}: {place}", datasets, whole))
    return complete, mixed


def leave_one_out_tables(runs, protocol: str) -> list:
    """A table for each average of a protocol over several data sets."""
    complete, mixed = complete_methods(runs, protocol)
    tables = []
    for title, datasets, methods in complete:
        headers = ["method", "config", "average", *(f"without {name}" for name in datasets)]
        headers += ["behind without", "within the spread of"]
        rows = leave_out(headers, _rows(methods, datasets), ("config",))
        tables.append(Table(title.replace(":", ", leaving one out:", 1), [*NOTES, *mixed], *rows))
    return tables


def _rows(methods, datasets):
    methods = sorted(methods, key=lambda method: -method.average())
    rows = []
    for place, method in enumerate(methods):
        mean, below = method.average(), methods[place + 1 :]
        overtaken, close = [], []
        for other in below:
            names = [name for name in datasets if other.average(name) > method.average(name)]
            overtaken += [f"{other.name} without {', '.join(names)}"] * bool(names)
            close += [other.name] * (mean - other.average() < max(method.spread, other.spread))
        without = [number(method.average(name)) for name in datasets]
        marks = ["; ".join(overtaken) or MISSING, ", ".join(close) or MISSING]
        rows.append([method.name, method.config, over_seeds(mean, method.by_seed), *without, *marks])
    return rows
