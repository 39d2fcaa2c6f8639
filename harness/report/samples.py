"""Results on other images than the published ones: another split file than CoOp's, or another few-shot sample of it."""

from collections import defaultdict

from ..catalogue import TRAINERS
from .runs import ANOTHER_SAMPLE, ANOTHER_SPLIT


def other_images(runs) -> list:
    """A sentence for each data set with such results, of all runs with a result."""
    found = defaultdict(set)  # (data set, what is another) -> trainers
    for run in runs:
        if run.accuracy is not None and run.images:
            found[run.dataset, run.images].add(run.trainer)
    return [
        f"{dataset}: {_listed(trainers)} {_WHAT[what]}, so this does not compare to published numbers."
        for (dataset, what), trainers in sorted(found.items())
    ]


_WHAT = {
    ANOTHER_SPLIT: "had another split file than CoOp's",
    ANOTHER_SAMPLE: "had another few-shot sample than CoOp's split file gives",
}


def _listed(trainers):
    return ", ".join(sorted(trainers, key=lambda name: (TRAINERS.index(name) if name in TRAINERS else 999, name)))
