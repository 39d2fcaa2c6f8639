"""predictions.npz, which TEST.SAVE_PREDICTIONS leaves beside a run's metrics.json: see trainers/run/record.py."""

import zipfile
import zlib
from typing import NamedTuple

import numpy as np

from ..errors import UserError

FILE = "predictions.npz"
_DAMAGED = (OSError, EOFError, AttributeError, LookupError, TypeError, ValueError, zipfile.BadZipFile, zlib.error)


class Predictions(NamedTuple):
    classnames: list
    labels: np.ndarray  # (n)
    predicted: np.ndarray  # (n)
    impaths: list


class OfAnotherTest(UserError):
    """They give another accuracy than the record beside them."""


def read_predictions(path, accuracy: float) -> Predictions:
    """Raises UserError, naming the file, if it is damaged, and OfAnotherTest if it does not give `accuracy` (%)."""
    return _read(path, accuracy)[0]


def read_logits(path, accuracy: float) -> tuple:
    """(logits (n, n_cls), labels (n)). Raises as `read_predictions`."""
    predictions, logits = _read(path, accuracy)
    return logits, predictions.labels


def _read(path, accuracy):
    try:
        with np.load(path, allow_pickle=False) as file:
            classnames, impaths = file["classnames"].tolist(), file["impaths"].tolist()
            labels, logits = file["labels"], file["logits"]
        predicted = logits.argmax(axis=1)
        fit = len(labels) == len(predicted) == len(impaths) > 0
        if not (fit and 0 <= labels.min() <= labels.max() < len(classnames)):
            raise ValueError("its parts do not fit together")
    except _DAMAGED as error:
        raise UserError(f"{path} cannot be used ({error}); test that run again") from None
    of_these = 100 * float((predicted == labels).mean())
    if abs(of_these - accuracy) > 0.005:
        raise OfAnotherTest(
            f"{path} gives {of_these:.2f} %, but its metrics.json {accuracy:.2f} %; test that run again"
        )
    return Predictions(classnames, labels, predicted, impaths), logits
