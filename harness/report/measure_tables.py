"""Tables of what tests measure beside accuracy: the joint test of base-to-new, and calibration. docs/metrics.md."""

from collections import defaultdict

from ..catalogue import TRAINERS
from .results import (
    MISSING,
    ORDER,
    harmonic_mean,
    make_cells,
    number,
    rank,
    same_seeds,
    shots_rank,
    shown_average,
    unmix,
)
from .tables import Table, leave_out, method_text, seeds_text

H = ("base", "new")
JOINT = {  # heading -> key of metrics.joint, or two of which it is the harmonic mean
    "base": "base",
    "new": "new",
    "H": H,
    "all": "accuracy",
    "base within": "base_within",
    "new within": "new_within",
    "base as new": "base_as_new",
    "new as base": "new_as_base",
    "AUROC": "auroc",
    "OpenworldAUC": "openworld_auc",
}
CALIBRATION = {  # heading -> key of metrics.calibration
    "ECE": "ece",
    "classwise ECE": "classwise_ece",
    "NLL": "nll",
    "Brier": "brier",
    "confidence - accuracy": "overconfidence",
    "AURC": "aurc",
}
_EARLIER = "{} of these tests were made before there were these numbers: test again with FORCE=1."


def joint_tables(runs) -> list:
    """One table, or none: the joint test of every method on every data set, and the averages over data sets."""
    notes = [
        "Images of all classes among the names of all classes, in %. H: harmonic mean of the averaged base and new; "
        "within: among the classes of an image's own half; AUROC: base images told from new ones."
    ]
    return _tables(runs, {"joint": "Joint base-to-new"}, "joint", JOINT, notes)


def calibration_tables(runs) -> list:
    """One table for each kind of test that there is."""
    titles = {
        "base": "base classes",
        "new": "new classes",
        "joint": "base and new classes",
        "source": "cross-dataset, source",
        "target": "cross-dataset, targets",
        "all": "few-shot",
    }
    notes = ["ECE, classwise ECE, confidence - accuracy and AURC in %, NLL in nats; the lower the better."]
    titles = {part: f"Calibration, {title}" for part, title in titles.items()}
    return _tables(runs, titles, "calibration", CALIBRATION, notes)


def _tables(runs, titles, field, columns, notes):
    """A table for each part of `titles` that has runs; `field` of a Run holds the numbers."""
    kept, mixed = unmix(runs)
    parts = {part: [run for run in kept if run.part == part] for part in titles}
    return [_table(of, titles[part], field, columns, notes, mixed) for part, of in parts.items() if of]


def _table(runs, title, field, columns, notes, mixed):
    keys = [key for key in columns.values() if key != H]
    grouped = defaultdict(lambda: defaultdict(lambda: {key: {} for key in keys}))  # method -> data set -> key -> seed
    for run in runs:
        values = getattr(run, field) if run.accuracy is not None else {}
        by_key = grouped[run.root, run.shots, run.source, run.trainer, run.cfg][run.dataset]
        for key in keys:
            by_key[key][run.seed] = values.get(key)
    datasets = sorted({name for of in grouped.values() for name in of}, key=lambda name: rank(ORDER, name))
    rows = []  # (sort key, row)
    for (root, shots, source, trainer, cfg), of in grouped.items():
        cells = {name: make_cells(of[name]) for name in datasets if name in of}
        order = rank(TRAINERS, trainer), cfg
        head, place = (root, shots, source), (root, shots_rank(shots), source)
        for name, by_key in cells.items():
            shown = {key: cell.shown for key, cell in by_key.items()}
            row = [*head, name, method_text(trainer), cfg, *_row(shown, columns, same_seeds(by_key))]
            rows.append(((*place, 0, rank(ORDER, name), *order), [*row, seeds_text({"": by_key[keys[0]]})]))
        if len(datasets) > 1:
            whole = len(cells) == len(datasets)
            shown = {key: shown_average({n: cells[n][key] for n in cells} if whole else {}) for key in keys}
            row = [*head, "average", method_text(trainer), cfg, *_row(shown, columns, whole)]
            rows.append(((*place, 1, (0, ""), *order), [*row, f"{len(cells)} of {len(datasets)} data sets"]))
    earlier = sum(run.accuracy is not None and not getattr(run, field) for run in runs)
    notes = [*notes, *[_EARLIER.format(earlier)] * bool(earlier), *mixed]
    headers = ["folder", "shots", "source", "data set", "method", "config", *columns, "seeds"]
    rows = [row for _, row in sorted(rows, key=lambda pair: pair[0])]
    return Table(title, notes, *leave_out(headers, rows, ("folder", "shots", "source", "config")))


def _row(shown, columns, alike):
    """The numbers of a row from those of each key; a harmonic mean needs both, of the same seeds."""
    return [_h(shown, alike) if key == H else shown[key] for key in columns.values()]


def _h(shown, alike):
    halves = [shown[key] for key in H]
    return number(harmonic_mean(*(half.value for half in halves))) if alike and MISSING not in halves else MISSING
