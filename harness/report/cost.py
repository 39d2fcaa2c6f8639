"""What training costs: seconds, peak memory and learnable parameters of each method, from the runs' records."""

import statistics
from collections import defaultdict

from ..catalogue import DATASETS, TRAINERS, is_trained_on_target, learns
from ..layout import PARTS
from .results import MISSING, Number, rank, shots_rank
from .tables import Table, leave_out, method_text

NOTES = [
    "Median over n training runs that differ in their seeds, each with the test that follows; of a resumed run, all "
    "that led to its result.",
    "Seconds hold for what the feature store had: a run whose image features others had stored took less.",
    "Memory: on a GPU what PyTorch had allocated, on a CPU the process's resident set; MiB.",
]
UNTRAINED = "{} learns nothing: its runs are tests."
NOT_RECORDED = "A dash among the parameters: the runs' metrics.json has no learnable_parameters."
HEADERS = "folder, shots, data set, method, config, of, seconds, memory, parameters, device, n".split(", ")
PROTOCOLS = list(dict.fromkeys(part.protocol for part in PARTS.values()))
KINDS = {
    "base": "base classes",
    "source": "all classes, as source",
    "target": "all classes, as target",  # of methods that are trained there
    "all": "all classes",
}


def cost_tables(runs) -> list:
    """One table, or none: a row per kind of training run. Runs of different devices are of different kinds."""
    kinds = defaultdict(list)
    for run in runs:
        trained = run.trained and (run.part != "target" or is_trained_on_target(run.trainer))
        if trained and run.seconds is not None and run.part in KINDS:
            kinds[run.root, run.protocol, run.shots, run.dataset, run.trainer, run.cfg, run.device].append(run)
    if not kinds:
        return []
    rows = []
    for key in sorted(kinds, key=_order):
        root, protocol, shots, dataset, trainer, cfg, device = key
        of, group = KINDS[kinds[key][0].part], kinds[key]
        medians = [
            median_of(group, "seconds", ".1f"),
            median_of(group, "peak_memory", ".0f"),
            median_of(group, "learnable_parameters", ",.0f"),
        ]
        rows.append([root, shots, dataset, method_text(trainer), cfg, of, *medians, device, str(len(group))])
    notes = [UNTRAINED.format(name) for name in sorted({key[4] for key in kinds}) if not learns(name)]
    notes += [NOT_RECORDED] * any(row[HEADERS.index("parameters")] == MISSING for row in rows)
    return [Table("Cost of training", NOTES + notes, *leave_out(HEADERS, rows, ("folder", "shots", "config", "of")))]


def _order(kind):
    root, protocol, shots, dataset, trainer, *rest = kind
    run = PROTOCOLS.index(protocol), shots_rank(shots), rank(DATASETS, dataset), rank(TRAINERS, trainer)
    return root, *run, rest


def median_of(runs, field, form):
    """The median of a number of `Run`s, a dash if none has it on record."""
    values = [value for value in (getattr(run, field) for run in runs) if value is not None]
    if not values:
        return MISSING
    median = statistics.median(values)
    return Number(f"{median:{form}}", median)
