"""What a comparison of methods leaves out: settings by data set, what else is read, and what chose the model.

Counted from the catalogue and the config files; precision and cost are from the runs.
"""

import functools
from collections import defaultdict

from ..catalogue import DATASETS, METHODS, Method
from ..config import flatten, read_config
from ..running.protocols import FEW_SHOT, SHOTS
from .cost import median_of
from .published import ROOT
from .results import MISSING
from .tables import Table, in_papers_order, method_text

# Heading -> (protocol, shots) of the papers' runs, over all their data sets
_COUNTED = {
    "base-to-new": [("base2new", SHOTS)],
    "few-shot": [("few_shot", shots) for shots in FEW_SHOT],
    "all protocols": [("base2new", SHOTS), ("xd", SHOTS), *[("few_shot", shots) for shots in FEW_SHOT]],
}
NOTES = [
    "Settings: how many different ones the authors name over the papers' 11 data sets (and, of few-shot, 1 to 16 "
    "shots), and in how many keys they differ: a method with more of them was fitted more closely to its data sets.",
    "Told the half: predicts base classes otherwise than new ones, which the joint test does not allow.",
    "Parameters, seconds and memory: medians over the training runs here, of all data sets.",
]
HEADERS = [
    "method",
    *(f"settings, {name}" for name in _COUNTED),
    *("model chosen by", "reads beside images and labels", "told the half"),
    *("precision", "parameters", "seconds", "memory"),
]


def fairness_tables(runs) -> list:
    """One table, a row for each method that has runs; none without any."""
    by_trainer = defaultdict(list)
    for run in runs:
        by_trainer[run.trainer].append(run)
    rows = [_row(method, by_trainer[method.trainer]) for method in METHODS if method.trainer in by_trainer]
    unknown = in_papers_order(by_trainer.keys() - {method.trainer for method in METHODS})
    notes = [*NOTES, *[f"Nothing is known of {', '.join(unknown)}."] * bool(unknown)]
    return [Table("What the comparison leaves out", notes, HEADERS, rows)] if rows else []


def _row(method, runs):
    trained = [run for run in runs if run.trained]
    settings = [_counted(method, kinds) for kinds in _COUNTED.values()]
    costs = [median_of(trained, *field) for field in (("learnable_parameters", ",.0f"), ("seconds", ".1f"))]
    memory = median_of(trained, "peak_memory", ".0f")
    precisions = {str(value) for run in runs for key, value in run.settings.items() if key.endswith(".PREC")}
    what = [_chosen_by(method, runs), method.reads or "nothing", "yes" if method.told_half else "no"]
    return [method_text(method.trainer), *settings, *what, ", ".join(sorted(precisions)) or MISSING, *costs, memory]


def _chosen_by(method, runs):
    """As the runs say, or else the catalogue."""
    return "validation images (epoch)" if any(run.keeps_best for run in runs) else method.chosen_by


def _counted(method: Method, kinds) -> str:
    """'3 (2 keys)': how many different settings, and in how many keys they differ; a dash for a protocol it lacks."""
    kinds = [(protocol, shots) for protocol, shots in kinds if method.has(protocol)]
    names = {method.config(protocol, name, shots) for protocol, shots in kinds for name in DATASETS}
    found = {frozenset(_settings(method.config_folder, name).items()) for name in names}
    if not found:
        return MISSING
    keys = {key for one in found for key, value in one if any((key, value) not in other for other in found)}
    return f"{len(found)} ({len(keys)} key{'s' * (len(keys) != 1)})" if len(found) > 1 else "1"


@functools.cache
def _settings(folder, name):
    """{key: text of its value} of a config file."""
    tree = read_config(ROOT / folder / f"{name}.yaml")
    return {key: repr(value) for key, value in flatten(tree)}
