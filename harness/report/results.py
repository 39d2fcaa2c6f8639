"""From a list of runs to what they measured: cells, which average over seeds alone, by method, config and data set."""

import re
import statistics
from collections import defaultdict
from dataclasses import dataclass
from typing import NamedTuple, Optional

from ..catalogue import DATASETS, DOMAIN_SHIFTS, is_trained_on_target, learns
from ..records import complete
from .samples import other_images

MISSING = "—"
BASE2NEW, JOINT_TEST, FEW_SHOT = "Base-to-new", "Joint base-to-new", "Few-shot"  # titles
EPOCH = "the epoch of its model"  # among the settings that are compared
WEIGHTS = "the weights of the backbone"  # among them, too, but not of earlier versions
ORDER = DATASETS + sum(DOMAIN_SHIFTS.values(), [])  # of all data sets, where several protocols share a list


def mean_and_std(values) -> tuple:
    """Mean and population standard deviation (divided by n, as CoOp's parse_test_res.py does)."""
    values = list(values)
    return statistics.fmean(values), statistics.pstdev(values)


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
    """A mean as a Number, with the spread of {seed: value} if it is of several seeds; a dash for None."""
    if mean is None:
        return MISSING
    if len(by_seed) < 2:
        return Number(f"{mean:.2f}", mean, seeds=by_seed)
    std = mean_and_std(by_seed.values())[1]
    return Number(f"{mean:.2f} ± {std:.2f}", mean, std, by_seed)


@dataclass
class Cell:
    """Runs that differ in their seeds only: accuracies by seed, and the seeds it should have but lacks."""

    by_seed: dict
    missing: list

    @property
    def mean(self):
        return mean_and_std(self.by_seed.values())[0] if self.by_seed else None

    @property
    def shown(self) -> str:
        return over_seeds(self.mean, self.by_seed)

    def __str__(self):
        return str(self.shown)


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


def average(cells: dict):
    """Mean of the cells' means; None if one has no result, or if there are none."""
    means = [cell.mean for cell in cells.values()]
    return mean_and_std(means)[0] if means and None not in means else None


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


# ---- what must not be averaged ---------------------------------------------------------------------------------


def unmix(runs) -> tuple:
    """The runs, without the results that must not be averaged, and sentences: on those, and on results of other images.

    Seeds may differ in nothing but the seed, and a test in nothing but the data set from the training whose model it
    tested. The epoch of a model counts as a setting. Runs whose settings are not on record cannot be checked, and stay.
    """
    groups, trainings = defaultdict(list), {}
    for run in runs:
        epoch = {} if run.epoch is None else {EPOCH: run.epoch}
        run = run._replace(settings={**complete(run.settings), **epoch})
        groups[run._replace(seed=0).what].append(run)
        if run.part in ("base", "source"):
            trainings[_training(run, run.dataset)] = run
    kept, notes = [], []
    for group in groups.values():
        known = [run for run in group if run.settings and run.accuracy is not None]
        name = f"{group[0].trainer} on {group[0].dataset}"
        own = ("SEED", *[EPOCH] * group[0].keeps_best)
        for key in [key for key in _differing(known) if key not in own][:1]:
            values = ", ".join(f"{run.settings.get(key)!r} in seed {run.seed}" for run in known)
            notes.append(f"{name}: {key} is {values}, so these are not averaged.")
            group = [run._replace(accuracy=None) if run in known else run for run in group]
        if len({WEIGHTS in run.settings for run in known}) > 1:
            notes.append(f"{name}: some runs are of an earlier version, of whose backbone a part alone was compared.")
        for run in group:
            trained = trainings.get(_training(run, run.source or run.dataset))
            if run.part in ("new", "joint", "target") and run.accuracy is not None and trained:
                for key in [key for key in _differing((trained, run)) if _of_model(key)][:1]:
                    notes.append(
                        f"{name}, seed {run.seed}: {key} is {run.settings[key]!r} in the test, but "
                        f"{trained.settings[key]!r} in the training, so the test does not count."
                    )
                    run = run._replace(accuracy=None)
            kept.append(run)
    return kept, notes + other_images(kept)


def _training(run, dataset):
    return run.root, run.protocol, dataset, run.shots, run.trainer, run.cfg, run.seed


def _of_model(key):
    return not key.startswith(("DATASET.", "TEST.")) and "the test images" not in key


def _differing(runs):
    """The settings of which not all runs that have them have the same value."""
    first, found = {}, set()
    for run in runs:
        found |= {key for key, value in run.settings.items() if first.setdefault(key, value) != value}
    return sorted(found)


# ---- the cells of each protocol --------------------------------------------------------------------------------
# By (output folder, shots, trainer, config), the config only where a trainer has several; few-shot without the shots.


def _with_config(runs, row, alike):
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
    for run, shown in _with_config(runs, lambda run: (run.root, run.shots, run.trainer), lambda run: run.dataset):
        grouped[run.root, run.shots, run.trainer, shown, run.dataset][run.part][run.seed] = run.accuracy
    found = defaultdict(dict)
    for (*method, dataset), halves in grouped.items():
        found[tuple(method)][dataset] = make_cells(halves)
    return found, mixed


# Heading of a column of the joint test -> keys of metrics.joint: one, or the two that it is the harmonic mean of
JOINT = {
    "base": ["base"],
    "new": ["new"],
    "H": ["base", "new"],
    "all": ["accuracy"],
    "base within": ["base_within"],
    "new within": ["new_within"],
    "base as new": ["base_as_new"],
    "new as base": ["new_as_base"],
    "AUROC": ["auroc"],
    "OpenworldAUC": ["openworld_auc"],
}


def measure_cells(runs, part: str, field: str, keys) -> tuple:
    """({(folder, shots, source, trainer, config): {data set: {key: Cell}}}, sentences of `unmix`).

    Of the tests of a part; `field` of a Run holds the numbers.
    """
    runs, mixed = unmix(runs)
    runs = [run for run in runs if run.part == part]
    grouped = defaultdict(lambda: {key: {} for key in keys})
    group = (lambda run: (run.root, run.shots, run.source, run.trainer)), lambda run: run.dataset
    for run, shown in _with_config(runs, *group):
        values = getattr(run, field) if run.accuracy is not None else {}
        for key, by_seed in grouped[(*group[0](run), shown, run.dataset)].items():
            by_seed[run.seed] = values.get(key)
    found = defaultdict(dict)
    for (*method, dataset), by_key in grouped.items():
        found[tuple(method)][dataset] = make_cells(by_key)
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
    for run, shown in _with_config(runs, lambda run: (run.root, run.shots, run.trainer), lambda run: None):
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
    for run, shown in _with_config(runs, lambda run: (run.root, run.trainer), lambda run: (run.dataset, run.shots)):
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


# ---- one number of a method on a data set, of any protocol -------------------------------------------------------


class Measured(NamedTuple):
    """One measure of a method on a data set: of base2new base, new and H, of few-shot one for each number of shots."""

    title: str  # of the protocol's table
    source: str  # of xd and dg, what the model was trained on
    folder: str
    shots: str
    trainer: str
    config: str
    dataset: str
    of: str  # "base", "new", "H", another of `JOINT`, "4 shots", or "accuracy"
    cells: dict  # one, or base and new for H

    @property
    def value(self) -> Optional[float]:
        """In percent; None if a cell is empty, or base and new are of different seeds."""
        means = [cell.mean for cell in self.cells.values()]
        return combine(*means) if None not in means and same_seeds(self.cells) else None


def combine(*means):
    """The measure from the means of its cells: of one it is that, of base and new their harmonic mean."""
    return means[0] if len(means) == 1 else harmonic_mean(*means)


def measured(runs, protocol: str) -> tuple:
    """([Measured] of a protocol (base2new, joint, xd, dg or few_shot), sentences of `unmix`), in no order."""
    if protocol == "joint":
        keys = dict.fromkeys(key for names in JOINT.values() for key in names)
        found, mixed = measure_cells(runs, "joint", "joint", keys)
        return [
            Measured(JOINT_TEST, "", root, shots, trainer, cfg, dataset, of, {name: cells[name] for name in names})
            for (root, shots, _, trainer, cfg), datasets in found.items()
            for dataset, cells in datasets.items()
            for of, names in JOINT.items()
        ], mixed
    if protocol == "base2new":
        found, mixed = base2new_cells(runs)
        halves = {"base": ["base"], "new": ["new"], "H": ["base", "new"]}
        return [
            Measured(BASE2NEW, "", root, shots, trainer, cfg, dataset, of, {name: cells[name] for name in names})
            for (root, shots, trainer, cfg), datasets in found.items()
            for dataset, cells in datasets.items()
            for of, names in halves.items()
        ], mixed
    if protocol == "few_shot":
        found, mixed = few_shot_cells(runs)
        return [
            Measured(FEW_SHOT, "", root, "", trainer, cfg, dataset, of, {of: cell})
            for (root, trainer, cfg), datasets in found.items()
            for dataset, cells in datasets.items()
            for of, cell in cells.items()
        ], mixed
    found, mixed = transfer_cells(runs, shifted=protocol == "dg")
    return [
        Measured(group.title, group.source, root, shots, trainer, cfg, dataset, "accuracy", {"accuracy": cell})
        for group in found
        for (root, shots, trainer, cfg), cells in group.cells.items()
        for dataset, cell in cells.items()
    ], mixed
