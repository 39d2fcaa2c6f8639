"""Accuracy by class and the worst confused pairs, from the predictions.npz that TEST.SAVE_PREDICTIONS leaves."""

import base64
import io
import os
from collections import Counter, defaultdict
from typing import NamedTuple, Optional

import numpy as np
from PIL import Image

from ..predictions import FILE, read_predictions
from ..results import MISSING, Cell, average, number
from ..tables import Table
from .names import by_kind, names_of, place_text

MOST_CLASSES = 100  # the hardest
MOST_TEST_SETS = 12
MOST_PICTURES = 400  # of some 2 KB each, repetitions included
PAIRS = 5  # of a method
PIXELS = 64  # the longer side of a thumbnail
PER_CLASS_NOTE = "Percent of each class's test images, mean ± standard deviation over seeds; the hardest classes first."


class Picture(NamedTuple):
    source: Optional[str]  # a data URI; "" if the file is not there or is no image, None where it would be one too many
    alt: str


class Pair(NamedTuple):
    """Images of one class that were taken for another: how many of how many, one of them, and one of the other."""

    true: str
    taken_for: str
    count: int
    n: int
    picture: Picture
    other: Picture


class Mistakes(NamedTuple):
    """What methods did on one test set: a table of classes, and {method: [Pair]}."""

    title: str
    table: Table
    pairs: dict


def find_mistakes(runs) -> tuple:
    """([Mistakes], sentences about what could not be used)."""
    names, test_sets, notes = names_of(runs), defaultdict(dict), []
    for kind in by_kind(runs).values():
        found = {}
        for run in kind:
            path = os.path.join(run.folder, FILE)
            if run.accuracy is not None and os.path.isfile(path):
                try:
                    found[run.seed] = read_predictions(path, run.accuracy)
                except ValueError as error:
                    notes.append(str(error))
        if found:
            test_sets[place_text(kind[0])][names[kind[0].trainer, kind[0].cfg]] = found
    if len(test_sets) > MOST_TEST_SETS:
        notes.append(f"The first {MOST_TEST_SETS} test sets of {len(test_sets)} that have predictions.")
    shown = list(test_sets.items())[:MOST_TEST_SETS]
    thumbnails = Thumbnails()
    mistakes = [Mistakes(title, _table(of), _pairs(of, thumbnails)) for title, of in shown]
    if thumbnails.shown > MOST_PICTURES:
        notes.append(f"The first {MOST_PICTURES} pictures of {thumbnails.shown}.")
    return mistakes, notes


# ---- by class ----------------------------------------------------------------------------------------------


def _table(methods):
    """A row per class, a column per method, from {method: {seed: Predictions}}."""
    rows = {}  # (label, class name) -> method -> Cell; a class name may stand for two labels
    images = {}
    for method, by_seed in methods.items():
        by_class = defaultdict(dict)
        for seed, one in by_seed.items():
            counts = np.bincount(one.labels, minlength=len(one.classnames))
            hits = np.bincount(one.labels[one.labels == one.predicted], minlength=len(one.classnames))
            for label in np.flatnonzero(counts):
                key = int(label), one.classnames[label]
                by_class[key][seed] = 100 * hits[label] / counts[label]
                images[key] = counts[label]
        for key, accuracies in by_class.items():
            rows.setdefault(key, {})[method] = Cell(accuracies, [])
    hardest = sorted(rows, key=lambda key: (average(rows[key]), key))
    notes = [PER_CLASS_NOTE]
    if len(hardest) > MOST_CLASSES:
        notes.append(f"{MOST_CLASSES} of {len(hardest)} classes.")
    table = [
        [key[1], *(rows[key][m].shown if m in rows[key] else MISSING for m in methods), number(images[key], "d")]
        for key in hardest[:MOST_CLASSES]
    ]
    return Table("Accuracy by class", notes, ["class", *methods, "images"], table)


# ---- confused pairs ----------------------------------------------------------------------------------------


def _pairs(methods, thumbnails):
    return {f"{method}, {_seeds(by_seed)}": _worst(by_seed, thumbnails) for method, by_seed in methods.items()}


def _seeds(by_seed):
    return ("seed " if len(by_seed) == 1 else "seeds ") + ", ".join(map(str, sorted(by_seed)))


def _worst(by_seed, thumbnails):
    """The pairs with the largest share of a class's images, all seeds together."""
    wrong, images, examples = Counter(), Counter(), {}
    for one in by_seed.values():
        images.update(one.labels.tolist())
        for label, taken_for, path in zip(one.labels.tolist(), one.predicted.tolist(), one.impaths):
            examples.setdefault(label, path)
            if label != taken_for:
                wrong[label, taken_for] += 1
                examples.setdefault((label, taken_for), path)
    worst = sorted(wrong, key=lambda pair: (-wrong[pair] / images[pair[0]], pair))[:PAIRS]
    classnames = next(iter(by_seed.values())).classnames
    pairs = []
    for label, other in worst:
        true, taken_for = classnames[label], classnames[other]
        picture = Picture(thumbnails.next(examples[label, other]), f"{true}, taken for {taken_for}")
        example = Picture(thumbnails.next(examples.get(other)), taken_for)
        pairs.append(Pair(true, taken_for, wrong[label, other], images[label], picture, example))
    return pairs


class Thumbnails(dict):
    """{path of an image: data URI}, made when asked for; "" where there is no image."""

    shown = 0

    def next(self, path: Optional[str]) -> Optional[str]:
        """The data URI of one more picture; None beyond `MOST_PICTURES`."""
        self.shown += 1
        return self[path] if self.shown <= MOST_PICTURES else None

    def __missing__(self, path: Optional[str]):
        try:
            with Image.open(path) as image:
                image.thumbnail((PIXELS, PIXELS))
                out = io.BytesIO()
                image.convert("RGB").save(out, "JPEG", quality=80)
            self[path] = "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()
        except (OSError, AttributeError, ValueError, SyntaxError, Image.DecompressionBombError):
            self[path] = ""
        return self[path]
