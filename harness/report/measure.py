"""What a test measures beside its accuracy: train.py hands it the logits, and metrics.json gets the numbers."""

from collections.abc import Callable

import numpy as np

from ..layout import PARTS, place_of
from . import metrics


def measure_of(folder) -> Callable[[np.ndarray, np.ndarray], dict]:
    """For the run in `folder`: (logits (n, n_cls), labels (n,)) -> what metrics.json gets, by function of metrics.py.

    Its folder says whether it is a joint test: zero-shot CLIP, which learns from no half, has no other sign of it.
    """
    _, place = place_of(folder) or (None, None)
    is_joint = place is not None and PARTS[place.folder].name == "joint"

    def measure(logits, labels):
        found = {
            "calibration": metrics.calibration(logits, labels),
            "by_class": metrics.by_class(logits, labels),
        }
        if is_joint:
            n_base = -(-logits.shape[1] // 2)  # as datasets/few_shot.py halves the classes
            found["joint"] = metrics.joint(logits, labels, n_base)
        return found

    return measure
