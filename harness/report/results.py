"""From a list of runs to what they measured: cells, which average over seeds alone, by method, config and data set."""

import re
import statistics
from collections import defaultdict
from dataclasses import dataclass
from typing import NamedTuple, Optional

from ..catalogue import DATASETS, DOMAIN_SHIFTS, is_trained_on_target, learns
from .unmix import unmix

MISSING = "—"
BASE2NEW, JOINT_TEST, FEW_SHOT = "Base-to-new", "Joint base-to-new", "Few-shot"  # titles
ORDER = DATASETS + sum(DOMAIN_SHIFTS.values(), [])  # of all data sets, where several protocols share a list


class Number(str):
    """A number as a table shows it, and what it is: value, standard deviation over seeds if several, the seeds."""

    value: float
    std: Optional[float]
    seeds: tuple

    def __new__(cls, text: str, value: float, std: Optional[float] = None, seeds=()):
        self = super().__new__(cls, text)
        self.value, self.std, self.seeds = float(value), std, tuple(seeds)
        return self


def number(value, form=".2f") -> str:
    """A Number with two digits (or in another form); a dash for None."""
    return MISSING if value is None else Number(f"{value:{form}}", value)


def signed(value) -> str:
    """A difference as a Number with its sign; a dash for None."""
    return MISSING if value is None else Number(f"{round(value, 2) + 0.0:+.2f}", value)  # + 0.0: no "-0.00"


def over_seeds(mean, by_seed) -> str:
    """A mean as a Number, with the spread of {seed: value} if it is of several seeds; a dash for None.

    The spread is the population standard deviation (divided by n), as CoOp's parse_test_res.py has it.
    """
    if mean is None:
        return MISSING
    if len(by_seed) < 2:
        return Number(f"{mean:.2f}", mean, seeds=by_seed)
    std = statistics.pstdev(by_seed.values())
    return Number(f"{mean:.2f} ± {std:.2f}", mean, std, by_seed)


@dataclass
class Cell:
    """Runs that differ in their seeds only: accuracies by seed, and the seeds it should have but lacks."""

    by_seed: dict
    missing: list

    @property
    def mean(self):
        return statistics.fmean(self.by_seed.values()) if self.by_seed else None

    @property
    def shown(self) -> str:
        return over_seeds(self.mean, self.by_seed)


def make_cells(parts: dict) -> dict:
    """{name: Cell} of one row, from {name: {seed: accuracy or None}}: all should have the seeds that one has."""
    expected = set().union(*parts.values())
    if expected and max(expected) <= 10:  # seeds are 1, 2, 3, ... by convention, so a hole is a missing run
        expected |= set(range(min(expected), max(expected)))
    cells = {}
    for name, by_seed in parts.items():
        found = {seed: value for seed, value in sorted(by_seed.items()) if value is not None}
        cells[name] = Cell(found, sorted(expected - set(found)))
    return cells


def same_seeds(cells: dict) -> bool:
    return len({tuple(cell.by_seed) for cell in cells.values()}) <= 1


def harmonic_mean(base: float, new: float) -> float:
    """2 / (1/base + 1/new); 0 if either is 0."""
    return 2 * base * new / (base + new) if base and new else 0.0


def combine(*means):
    """The measure from the means of its cells: of one it is that, of base and new their harmonic mean."""
    return means[0] if len(means) == 1 else harmonic_mean(*means)


def average(cells: dict):
    """Mean of the cells' means; None if one has no result, or if there are none."""
    means = [cell.mean for cell in cells.values()]
    return statistics.fmean(means) if means and None not in means else None


def shown_average(cells: dict) -> str:
    """The average as a Number, with its own spread over seeds if all cells are of the same; a dash for None."""
    alike = [cell.by_seed for cell in cells.values()] if same_seeds(cells) else []
    seeds = alike[0] if alike else ()
    return over_seeds(average(cells), {seed: statistics.fmean(by_seed[seed] for by_seed in alike) for seed in seeds})


def rank(order, name):
    return (order.index(name) if name in order else len(order), name.lower())


def shots_rank(shots):
    return [int(digits) for digits in re.findall(r"\d+", shots)]


def shots_text(shots):
    return f"{shots} shot" if shots == "1" else f"{shots} shots"


# ---- the cells of each protocol --------------------------------------------------------------------------------
# By (output folder, shots, trainer, config), the config only where a trainer has several; few-shot without the shots.


def with_config(runs, row, alike):
    """Pairs of run and config to show: none unless `row(run)` has several configs among runs of one `alike(run)`."""
    configs = defaultdict(set)
    for run in runs:
        configs[row(run), alike(run)].add(run.cfg)
    several = {of for (of, _), names in configs.items() if len(names) > 1}
    return [(run, run.cfg if row(run) in several else "") for run in runs]


def base2new_cells(runs) -> tuple:
    """({(folder, shots, trainer, config): {data set: {"base": Cell, "new": Cell}}}, sentences of `unmix`)."""
    runs, mixed = unmix([run for run in runs if run.part in ("base", "new")])
    grouped = defaultdict(lambda: {"base": {}, "new": {}})
    for run, shown in with_config(runs, lambda run: (run.root, run.shots, run.trainer), lambda run: run.dataset):
        grouped[run.root, run.shots, run.trainer, shown, run.dataset][run.part][run.seed] = run.accuracy
    found = defaultdict(dict)
    for (*method, dataset), halves in grouped.items():
        found[tuple(method)][dataset] = make_cells(halves)
    return found, mixed


class Transfer(NamedTuple):
    """What models of one source did: {(folder, shots, trainer, config): {data set: Cell}} for source and targets."""

    title: str
    source: str  # "" if none is known
    targets: list
    cells: dict


def transfer_cells(runs, shifted: bool) -> tuple:
    """([Transfer], sentences of `unmix`).

    `shifted` takes the targets that are domain shifts of the source, otherwise all others. A run without a
    source (zero-shot CLIP, or a test that was interrupted) stands beside each source that its target was
    tested for, or beside every source if that is none.
    """
    runs, mixed = unmix([run for run in runs if run.protocol == "xd"])
    sources_of = defaultdict(set)  # target -> sources
    for run in runs:
        if run.part == "target" and run.source:
            sources_of[run.dataset].add(run.source)
    found = []
    for source in sorted({run.source for run in runs if run.source} or {""}, key=lambda name: rank(DATASETS, name)):
        own = [r for r in runs if source in ({r.source} if r.source else sources_of[r.dataset] or {source})]
        # Without any source, a shift of whatever is one
        shifts = DOMAIN_SHIFTS.get(source, []) if source else sum(DOMAIN_SHIFTS.values(), [])
        targets = sorted({run.dataset for run in own} - {source}, key=lambda name: rank(DATASETS + shifts, name))
        wanted = [target for target in targets if (target in shifts) == shifted]
        if wanted or (own and not targets and not shifted):  # the source alone is shown once
            title = "Domain generalization" if shifted else "Cross-dataset"
            title += f", trained on {source}" if source else ""
            found.append(Transfer(title, source, wanted, _of_source(source, wanted, own)))
    return found, mixed


def _of_source(source, targets, runs):
    grouped = defaultdict(lambda: {column: {} for column in [source or "source", *targets]})
    runs = [run for run in runs if run.part == "source" or run.dataset in targets]
    # One model is tested on all targets, so two configs never share a row
    for run, shown in with_config(runs, lambda run: (run.root, run.shots, run.trainer), lambda run: None):
        grouped[run.root, run.shots, run.trainer, shown][run.dataset][run.seed] = run.accuracy
    found = {method: make_cells(parts) for method, parts in grouped.items()}
    for (_, _, trainer, _), cells in found.items():
        if is_trained_on_target(trainer):
            cells[source or "source"].missing.clear()  # it has no run there
    return found


def few_shot_cells(runs) -> tuple:
    """({(folder, trainer, config): {data set: {"4 shots": Cell}}}, sentences of `unmix`); all have all columns."""
    runs, mixed = unmix([run for run in runs if run.protocol == "few_shot"])
    columns = sorted({run.shots for run in runs}, key=shots_rank)
    grouped = defaultdict(lambda: {shots: {} for shots in columns})
    for run, shown in with_config(runs, lambda run: (run.root, run.trainer), lambda run: (run.dataset, run.shots)):
        grouped[run.root, run.trainer, shown, run.dataset][run.shots][run.seed] = run.accuracy
    found = defaultdict(dict)
    for (root, trainer, cfg, dataset), by_shots in grouped.items():
        cells = make_cells(by_shots if learns(trainer) else _same_for_all_shots(by_shots))
        found[root, trainer, cfg][dataset] = {shots_text(shots): cell for shots, cell in cells.items()}
    return found, mixed


def _same_for_all_shots(by_shots):
    """All columns of a method that learns nothing, from those that were run; unchanged if they contradict."""
    results = {}
    for by_seed in by_shots.values():
        for seed, accuracy in by_seed.items():
            if accuracy is None:
                results.setdefault(seed, None)
            elif results.get(seed) in (None, accuracy):
                results[seed] = accuracy
            else:
                return by_shots
    return {shots: results for shots in by_shots}
