"""What a test measures beside its accuracy: train.py hands it the logits, and metrics.json gets the numbers."""

import os
from collections.abc import Callable
from functools import cache
from typing import Optional

import numpy as np

from ..errors import UserError
from ..layout import PARTS, place_of
from . import metrics
from .predictions import FILE, read_logits
from .runs import Run


def measure_of(folder, remedies: Optional[Callable] = None) -> Callable[[np.ndarray, np.ndarray], dict]:
    """For the run in `folder`: (logits (n, n_cls), labels (n,)) -> what metrics.json gets, by function of metrics.py.

    Its folder says whether it is a joint test: zero-shot CLIP, which learns from no half, has no other sign of it.
    remedies: trainers/remedies.py's of the test; with them metrics.json has its calibration by remedy, too.
    """
    _, place = place_of(folder) or (None, None)
    is_joint = place is not None and PARTS[place.folder].name == "joint"

    def measure(logits, labels):
        found = _numbers(logits, labels, is_joint)
        if remedies:
            found["remedied"] = {}
            predicted = logits.argmax(axis=1)
            for name, factors in remedies(metrics.fit_temperature).items():
                its = metrics.calibration(logits * factors[predicted, None], labels)
                found["remedied"][name] = {
                    **its,
                    "least_factor": float(factors.min()),
                    "largest_factor": float(factors.max()),
                }
        return found

    return measure


def with_numbers(run: Run, bins: Optional[int] = None) -> Run:
    """A run with the numbers of its test that its record lacks, as far as there is a predictions.npz beside it.

    bins: of its calibration; None: as many as the record has, else 15. Of another number it has them by its predictions
    or not at all.
    """
    recorded = run.calibration.get("bins")
    bins = bins or recorded or metrics.BINS
    if run.accuracy is None or (recorded == bins and run.reliability):
        return run
    found = _of_predictions(run.folder, run.accuracy, run.part == "joint", bins) if run.folder else {}
    if not found and recorded not in (None, bins):
        found = {"calibration": {}, "reliability": []}
    return run._replace(**found)


@cache
def _of_predictions(folder, accuracy, is_joint, bins):
    try:
        return _numbers(*read_logits(os.path.join(folder, FILE), accuracy), is_joint, bins)
    except UserError:  # there are none; the page names those that are damaged
        return {}


def _numbers(logits, labels, is_joint, bins=metrics.BINS):
    found = {name: getattr(metrics, name)(logits, labels, bins) for name in ("calibration", "reliability")}
    found["by_class"] = metrics.by_class(logits, labels)
    if is_joint:
        n_base = -(-logits.shape[1] // 2)  # as datasets/few_shot.py halves the classes
        found["joint"] = metrics.joint(logits, labels, n_base)
    return found
