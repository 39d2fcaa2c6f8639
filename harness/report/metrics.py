"""Numbers of a test from its logits alone, without PyTorch: docs/metrics.md has formulas, sources and an example.

Everywhere: `logits` (n, c) of n images and c classes, in any float type; `labels` (n) integers from 0 to c - 1; `right`
means that the class of the largest logit, the first of equals, is the label. Whatever is computed is float64, and what
comes out are Python numbers, so that json can write them. None stands for what these images cannot tell.

Each function raises UserError if the two do not fit together, there is no image, or a logit is not finite.
"""

from collections.abc import Iterator
from typing import NamedTuple, Optional

import numpy as np

from ..errors import UserError
from .results import harmonic_mean

BINS = 15
_AT_ONCE = 2**20  # logits in float64: 8 MB an array, of which about five live at a time


class Bin(NamedTuple):
    confidence: Optional[float]  # mean over its images, %; None without images
    accuracy: Optional[float]  # %; None without images
    count: int


def calibration(logits, labels, bins: int = BINS) -> dict:
    """How far a model's probabilities can be believed. Raises UserError if `bins` is below 1, too.

    Percent: ece, ece_mass, classwise_ece, mean_confidence, aurc. Percentage points: overconfidence. Nats: nll. brier is
    from 0 to 2. bins is the number of bins.
    """
    logits, labels = _checked(logits, labels, bins)
    n, classes = logits.shape
    confidence, right = np.empty(n), np.empty(n, bool)
    nll = brier = 0.0
    gaps = np.zeros(classes * bins)  # by class, then bin: sum of (probability of the class - 1 if it is the label)
    first_bin = np.arange(classes) * bins
    for rows, chunk in _chunks(logits):
        of, each = labels[rows], np.arange(len(chunk))
        right[rows] = chunk.argmax(axis=1) == of
        chunk -= chunk.max(axis=1, keepdims=True)
        logit = chunk[each, of]
        probabilities, total = _softmax(chunk)
        nll += float((np.log(total) - logit).sum())
        confidence[rows] = probabilities.max(axis=1)
        places = _bin_of(probabilities, bins) + first_bin
        probabilities[each, of] -= 1
        gaps += np.bincount(places.ravel(), probabilities.ravel(), minlength=len(gaps))
        brier += float(np.einsum("ij,ij->", probabilities, probabilities))
    mean_confidence = 100 * float(confidence.mean())
    return {
        "ece": _gap(_bin_of(confidence, bins), confidence, right),
        "ece_mass": _equal_mass(confidence, right, bins),
        "classwise_ece": 100 * float(np.abs(gaps).sum()) / n / classes,
        "nll": nll / n,
        "brier": brier / n,
        "mean_confidence": mean_confidence,
        "overconfidence": mean_confidence - _percent(right),
        "aurc": _risk_coverage(confidence, right),
        "bins": int(bins),
    }


def reliability(logits, labels, bins: int = BINS) -> list:
    """The bins of `ece`, from the least confident to the most, as `Bin`: a reliability diagram."""
    logits, labels = _checked(logits, labels, bins)
    confidence, right = np.empty(len(labels)), np.empty(len(labels), bool)
    for rows, chunk in _chunks(logits):
        right[rows] = chunk.argmax(axis=1) == labels[rows]
        chunk -= chunk.max(axis=1, keepdims=True)
        confidence[rows] = _softmax(chunk)[0].max(axis=1)
    place = _bin_of(confidence, bins)
    counts, sums, hits = (np.bincount(place, weights, bins) for weights in (None, confidence, right))
    return [
        Bin(100 * float(total) / int(count), 100 * float(hit) / int(count), int(count)) if count else Bin(None, None, 0)
        for count, total, hit in zip(counts, sums, hits)
    ]


def fit_temperature(logits, labels) -> float:
    """The T, from 1/20 to 20, for which logits / T have the least `nll`, which is convex in 1 / T."""
    from scipy.optimize import minimize_scalar  # here: it takes a second, and a test seldom asks for it

    logits, labels = _checked(logits, labels)

    def nll(inverse):
        total = 0.0
        for rows, chunk in _chunks(logits):
            chunk = (chunk - chunk.max(axis=1, keepdims=True)) * inverse
            total += float((np.log(np.exp(chunk).sum(axis=1)) - chunk[np.arange(len(chunk)), labels[rows]]).sum())
        return total

    return float(1 / minimize_scalar(nll, bounds=(1 / 20, 20), method="bounded", options={"xatol": 1e-6}).x)


def joint(logits, labels, n_base: int) -> dict:
    """The test on all classes at once, in percent, of which the first `n_base` are base and the others new.

    accuracy of all images; base and new, of those of each half; h, their harmonic mean; base_within, new_within and
    h_within, if only the half's classes can be chosen; base_as_new and new_as_base, the share of the half's images that
    are taken for a class of the other; auroc and openworld_auc. What needs images of a half that has none is None.
    Raises UserError if a half has no class, too.
    """
    logits, labels = _checked(logits, labels)
    n, classes = logits.shape
    if not 0 < n_base < classes:
        raise UserError(f"of {classes} classes, between 1 and {classes - 1} can be base classes, not {n_base}")
    predicted, within, score = np.empty(n, int), np.empty(n, int), np.empty(n)
    is_base = labels < n_base
    for rows, chunk in _chunks(logits):
        predicted[rows] = chunk.argmax(axis=1)
        best_base, best_new = chunk[:, :n_base].argmax(axis=1), n_base + chunk[:, n_base:].argmax(axis=1)
        within[rows] = np.where(is_base[rows], best_base, best_new)
        chunk -= chunk.max(axis=1, keepdims=True)
        score[rows] = _softmax(chunk)[0][:, :n_base].max(axis=1)
    right, right_within, crossed = predicted == labels, within == labels, (predicted < n_base) != is_base
    is_new = ~is_base
    base, new = _percent(right[is_base]), _percent(right[is_new])
    base_within, new_within = _percent(right_within[is_base]), _percent(right_within[is_new])
    pairs = int(is_base.sum()) * int(is_new.sum())
    of_all = _pairs_won(score[is_base], score[is_new])
    of_right = _pairs_won(score[is_base & right_within], score[is_new & right_within])
    return {
        "accuracy": _percent(right),
        "base": base,
        "new": new,
        "h": harmonic_mean(base, new) if pairs else None,
        "base_within": base_within,
        "new_within": new_within,
        "h_within": harmonic_mean(base_within, new_within) if pairs else None,
        "base_as_new": _percent(crossed[is_base]),
        "new_as_base": _percent(crossed[is_new]),
        "auroc": 100 * of_all / pairs if pairs else None,
        "openworld_auc": 100 * of_right / pairs if pairs else None,
    }


def by_class(logits, labels) -> dict:
    """macro_recall, the mean recall of the classes that have images, and worst_tenth, that of their worst tenth, in %.

    The tenth is rounded down, and at least one class.
    """
    logits, labels = _checked(logits, labels)
    right = np.concatenate([chunk.argmax(axis=1) == labels[rows] for rows, chunk in _chunks(logits)])
    images = np.bincount(labels)
    recalls = np.sort(np.bincount(labels, right)[images > 0] / images[images > 0])
    worst = recalls[: max(1, len(recalls) // 10)]
    return {"macro_recall": 100 * float(recalls.mean()), "worst_tenth": 100 * float(worst.mean())}


def _checked(logits, labels, bins: int = BINS) -> tuple:
    logits, labels = np.asarray(logits), np.asarray(labels)
    if logits.ndim != 2 or logits.dtype.kind not in "fiu":
        raise UserError(f"logits are numbers of images x classes, not {logits.dtype} of shape {logits.shape}")
    if not logits.size:
        raise UserError(f"nothing can be measured of {logits.shape[0]} images and {logits.shape[1]} classes")
    if labels.shape != logits.shape[:1] or labels.dtype.kind not in "iu":
        raise UserError(f"labels are {len(logits)} integers, not {labels.dtype} of shape {labels.shape}")
    if not 0 <= labels.min() <= labels.max() < logits.shape[1]:
        raise UserError(f"labels are from 0 to {logits.shape[1] - 1}, not from {labels.min()} to {labels.max()}")
    if bins < 1:
        raise UserError(f"probabilities are sorted into at least one bin, not {bins}")
    return logits, labels.astype(np.int64)  # minus one of an unsigned label would be a large number


def _chunks(logits) -> Iterator[tuple]:
    """(slice of the rows, these rows as a float64 array of its own), a few megabytes at a time."""
    step = max(1, _AT_ONCE // logits.shape[1])
    for start in range(0, len(logits), step):
        rows = slice(start, start + step)
        chunk = logits[rows].astype(np.float64)
        if not np.isfinite(chunk).all():
            raise UserError("a logit is not finite, so that nothing can be said of this model's probabilities")
        yield rows, chunk


def _softmax(chunk) -> tuple:
    """(probabilities, written over `chunk`; sum of the exponentials) of rows whose largest logit is 0."""
    np.exp(chunk, out=chunk)
    total = chunk.sum(axis=1)
    chunk /= total[:, None]
    return chunk, total


def _bin_of(probabilities, bins: int):
    """Which of the bins (0, 1/bins], ..., (1 - 1/bins, 1] they are in; a probability of 0 is in the first."""
    place = np.ceil(probabilities * bins).astype(np.int32)
    place -= 1
    return np.clip(place, 0, bins - 1, out=place)


def _gap(place, confidence, right) -> float:
    """Sum over bins of |mean confidence - accuracy| x share of the images, in percent: the images cancel."""
    return 100 * float(np.abs(np.bincount(place, confidence - right)).sum()) / len(place)


def _equal_mass(confidence, right, bins: int) -> float:
    """`_gap` of bins with as many images each, up to one.

    Equally confident images may fall into two bins. Each then counts with the accuracy of all of them, so that it does
    not matter in which order they came.
    """
    values, group, counts = np.unique(confidence, return_inverse=True, return_counts=True)
    accuracy = np.bincount(group, right) / counts
    place = np.arange(len(confidence)) * bins // len(confidence)
    return _gap(place, np.repeat(values, counts), np.repeat(accuracy, counts))


def _risk_coverage(confidence, right) -> float:
    """Mean over the images of the error among those at least as confident, in percent: ties are accepted together."""
    _, group, counts = np.unique(-confidence, return_inverse=True, return_counts=True)
    wrong = np.bincount(group, ~right)
    risks = np.cumsum(wrong) / np.cumsum(counts)
    return 100 * float((risks * counts).sum()) / len(confidence)


def _pairs_won(base, new) -> float:
    """How many pairs of a base and a new score have the larger one in base; equals count half. O(n log n)."""
    new = np.sort(new)
    return float(np.searchsorted(new, base, "left").sum() + np.searchsorted(new, base, "right").sum()) / 2


def _percent(hits) -> Optional[float]:
    return 100 * int(hits.sum()) / len(hits) if len(hits) else None
