"""One number of a method on a data set: of any protocol, of a joint test, of calibration or of classes."""

from collections import defaultdict
from typing import NamedTuple, Optional

from .results import (
    BASE2NEW,
    FEW_SHOT,
    JOINT_TEST,
    base2new_cells,
    combine,
    few_shot_cells,
    make_cells,
    same_seeds,
    transfer_cells,
    with_config,
)
from .unmix import unmix

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
# As JOINT, of metrics.calibration
CALIBRATION = {
    "ECE": ["ece"],
    "classwise ECE": ["classwise_ece"],
    "NLL": ["nll"],
    "Brier": ["brier"],
    "confidence - accuracy": ["overconfidence"],
    "AURC": ["aurc"],
}
LOWER_IS_BETTER = {"ECE", "classwise ECE", "NLL", "Brier", "AURC", "base as new", "new as base"}
TESTS = {  # part of a run -> what it was tested on, in the order of tables
    "base": "base classes",
    "new": "new classes",
    "joint": "base and new classes",
    "source": "cross-dataset, source",
    "target": "cross-dataset, targets",
    "all": "few-shot",
}


def measure_cells(runs, part: str, field: str, keys, bins: Optional[int] = None) -> tuple:
    """({(folder, shots, source, trainer, config): {data set: {key: Cell}}}, sentences of `unmix`).

    Of the tests of a part; `field` of a Run holds the numbers, of calibration with as many `bins` (None: as recorded).
    """
    runs, mixed = unmix(runs)
    runs = [run for run in runs if run.part == part]
    grouped = defaultdict(lambda: {key: {} for key in keys})
    group = (lambda run: (run.root, run.shots, run.source, run.trainer)), lambda run: run.dataset
    for run, shown in with_config(runs, *group):
        values = numbers_of(run, field, bins) if run.accuracy is not None else {}
        for key, by_seed in grouped[(*group[0](run), shown, run.dataset)].items():
            by_seed[run.seed] = values.get(key)
    found = defaultdict(dict)
    for (*method, dataset), by_key in grouped.items():
        found[tuple(method)][dataset] = make_cells(by_key)
    return found, mixed


def numbers_of(run, field: str, bins: Optional[int] = None) -> dict:
    """`field` of a Run, or what predictions.npz gives of it where its record lacks it: {} if there is neither."""
    found = getattr(run, field)
    if found and found.get("bins") in (None, bins or found.get("bins")):
        return found
    from .measure import with_numbers  # here, as few reports need NumPy

    return getattr(with_numbers(run, bins), field)


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


def measured(runs, protocol: str) -> tuple:
    """([Measured] of a protocol (base2new, joint, xd, dg or few_shot) or of the calibration of all tests, sentences of
    `unmix`), in no order."""
    if protocol == "joint":
        return _measured_by_test(runs, JOINT_TEST, "joint", "joint", JOINT)
    if protocol == "calibration":
        names = {of: keys for of, keys in CALIBRATION.items() if of in LOWER_IS_BETTER}
        parts = [_measured_by_test(runs, f"Calibration, {what}", part, protocol, names) for part, what in TESTS.items()]
        there = [one for found, _ in parts for one in found if any(cell.by_seed for cell in one.cells.values())]
        return there, list(dict.fromkeys(text for _, notes in parts for text in notes))
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


def _measured_by_test(runs, title, part, field, columns):
    """As `measured`, of the tests of a part: `columns` of a table -> the keys that they are made of."""
    found, mixed = measure_cells(runs, part, field, dict.fromkeys(key for names in columns.values() for key in names))
    return [
        Measured(title, source, root, shots, trainer, cfg, dataset, of, {name: cells[name] for name in names})
        for (root, shots, source, trainer, cfg), datasets in found.items()
        for dataset, cells in datasets.items()
        for of, names in columns.items()
    ], mixed
