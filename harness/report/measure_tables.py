"""Tables of what tests measure beside accuracy: joint test of base-to-new, calibration, classes. docs/metrics.md."""

from typing import Optional

from ..catalogue import TRAINERS
from .measured import CALIBRATION, JOINT, TESTS, measure_cells, numbers_of
from .results import JOINT_TEST, MISSING, ORDER, combine, number, rank, same_seeds, shots_rank, shown_average
from .tables import Table, average_remark, leave_out, method_text, seeds_text

BY_CLASS = {"macro recall": ["macro_recall"], "worst tenth": ["worst_tenth"]}  # keys of metrics.by_class
_JOINT_NOTE = (
    "Images of all classes among the names of all classes, in %. H: harmonic mean of the averaged base and new; "
    "within: among the classes of an image's own half; AUROC: base images told from new ones."
)
_CALIBRATION_NOTE = (
    "ECE, classwise ECE, confidence - accuracy and AURC in %, NLL in nats; the nearer to 0 the better. docs/metrics.md "
    "says what they cannot tell."
)
_BY_CLASS_NOTE = (
    "In %. Macro recall: mean over the classes of the share of each one's images that are right; worst tenth: over the "
    "tenth of the classes where it is lowest, which are others for each method."
)
_LACKING = (
    "{} of these tests have no such numbers, or of other bins, on record, and no predictions.npz to take them from: "
    "FORCE=1 makes test and training anew."
)


def joint_tables(runs) -> list:
    """One table, or none: the joint test of every method on every data set, and the averages over data sets."""
    return _tables(runs, JOINT_TEST, "joint", "joint", JOINT, _JOINT_NOTE)


def calibration_tables(runs, bins: Optional[int] = None) -> list:
    """One table for each kind of test that there is; bins: of ECE and classwise ECE, None: as recorded."""
    remedied = [
        run._replace(cfg=f"{run.cfg} + {name}", calibration=numbers, reliability=[], folder="")
        for run in runs
        for name, numbers in run.remedied.items()
    ]
    return _of_parts([*runs, *remedied], "Calibration", "calibration", CALIBRATION, _CALIBRATION_NOTE, bins)


def class_tables(runs) -> list:
    """One table for each kind of test that there is."""
    return _of_parts(runs, "By class", "by_class", BY_CLASS, _BY_CLASS_NOTE)


def _of_parts(runs, title, *rest):
    return [table for part, of in TESTS.items() for table in _tables(runs, f"{title}, {of}", part, *rest)]


def _tables(runs, title, part, field, columns, note, bins=None):
    keys = dict.fromkeys(key for names in columns.values() for key in names)
    methods, mixed = measure_cells(runs, part, field, keys, bins)
    datasets = sorted({name for of in methods.values() for name in of}, key=lambda name: rank(ORDER, name))
    rows = []  # (sort key, row)
    for (root, shots, source, trainer, cfg), cells in methods.items():
        lines = [
            (name, {key: cell.shown for key, cell in of.items()}, True, seeds_text({"": next(iter(of.values()))}))
            for name, of in cells.items()
        ]
        if len(datasets) > 1:
            whole = len(cells) == len(datasets)
            shown = {key: shown_average({n: of[key] for n, of in cells.items()} if whole else {}) for key in keys}
            alike = same_seeds({(name, key): cell for name, of in cells.items() for key, cell in of.items()})
            remark = "; ".join([f"{len(cells)} of {len(datasets)} data sets", *average_remark(cells)])
            lines.append(("average", shown, alike, remark))
        for number_of, (name, shown, alike, seeds) in enumerate(lines):
            is_average = number_of == len(cells)
            values = [_combined([shown[key] for key in names], alike) for names in columns.values()]
            place = root, shots_rank(shots), source, is_average, (0, "") if is_average else rank(ORDER, name)
            row = [root, shots, source, name, method_text(trainer), cfg, *values, seeds]
            rows.append(((*place, rank(TRAINERS, trainer), cfg), row))
    if not rows:
        return []
    tested = [run for run in runs if run.part == part and run.accuracy is not None]
    lacking = sum(not numbers_of(run, field, bins) for run in tested)
    notes = [note, *[_LACKING.format(lacking)] * bool(lacking), *mixed]
    headers = ["folder", "shots", "source", "data set", "method", "config", *columns, "seeds"]
    rows = [row for _, row in sorted(rows, key=lambda pair: pair[0])]
    return [Table(title, notes, *leave_out(headers, rows, ("folder", "shots", "source", "config")))]


def _combined(shown, alike):
    """A number as it is, or the harmonic mean of two, which are to be of the same seeds."""
    if len(shown) == 1:
        return shown[0]
    return number(combine(*(each.value for each in shown))) if alike and MISSING not in shown else MISSING
