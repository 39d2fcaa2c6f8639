"""What tuning broke: each method's classes beside those of zero-shot CLIP on the same test images."""

import os
from collections import defaultdict

import numpy as np

from ..catalogue import TRAINERS, learns
from ..errors import UserError
from .measured import TESTS
from .predictions import FILE, read_predictions
from .results import ORDER, number, rank, shots_rank
from .tables import Table, leave_out, method_text, numbers_text
from .unmix import unmix

_NOTES = [
    "Of the classes of each test: how many have another recall than with zero-shot CLIP, mean over the seeds that both "
    "have, by more than one image; and the one that lost most.",
    "From the predictions.npz of both (TEST.SAVE_PREDICTIONS True); methods without are left out.",
]


def broken_tables(runs) -> list:
    """One table for each kind of test of which zero-shot CLIP and another method have left their predictions."""
    recalls = defaultdict(dict)  # (root, part, data set) -> (shots, source, trainer, config) -> seed -> recalls
    for run in unmix(runs)[0]:
        path = os.path.join(run.folder, FILE)
        if run.accuracy is None or not os.path.isfile(path):
            continue
        try:
            found = _recalls(read_predictions(path, run.accuracy))
        except UserError:  # the page names those that are damaged
            continue
        method = run.shots, run.source, run.trainer, run.cfg
        recalls[run.root, run.part, run.dataset].setdefault(method, {})[run.seed] = found
    rows = defaultdict(list)  # part -> (sort key, row)
    for (root, part, dataset), methods in recalls.items():
        plain = {
            seed: of for method, by_seed in methods.items() if not learns(method[2]) for seed, of in by_seed.items()
        }
        for (shots, source, trainer, cfg), by_seed in methods.items():
            seeds = sorted(seed for seed in by_seed if seed in plain and _same_classes(by_seed[seed], plain[seed]))
            if learns(trainer) and seeds:
                cells = _compared([plain[seed] for seed in seeds], [by_seed[seed] for seed in seeds])
                key = root, shots_rank(shots), source, rank(ORDER, dataset), rank(TRAINERS, trainer), cfg
                place = root, shots, source, dataset, method_text(trainer), cfg
                rows[part].append((key, [*place, *cells, numbers_text(seeds)]))
    headers = ["folder", "shots", "source", "data set", "method", "config"]
    headers += ["classes", "better", "worse", "largest loss", "seeds"]
    return [
        Table(
            f"What tuning broke, {what}",
            _NOTES,
            *leave_out(headers, [row for _, row in sorted(rows[part])], ("folder", "shots", "source", "config")),
        )
        for part, what in TESTS.items()
        if part in rows
    ]


def _recalls(predictions):
    """(class names, images, images that are right), of each class that has images."""
    n = len(predictions.classnames)
    images = np.bincount(predictions.labels, minlength=n)
    right = np.bincount(predictions.labels[predictions.labels == predictions.predicted], minlength=n)
    there = images > 0
    return [name for name, is_there in zip(predictions.classnames, there) if is_there], images[there], right[there]


def _same_classes(one, other):
    return one[0] == other[0] and (one[1] == other[1]).all()


def _compared(plain, tuned):
    names, images, _ = plain[0]
    before, after = (np.mean([right for *_, right in each], axis=0) for each in (plain, tuned))
    changed = after - before  # in images
    worst = int((100 * changed / images).argmin())
    loss = f"{names[worst]}: {100 * before[worst] / images[worst]:.1f} to {100 * after[worst] / images[worst]:.1f} %"
    counts = len(names), int((changed > 1).sum()), int((changed < -1).sum())
    return [*(number(count, "d") for count in counts), loss if changed[worst] < 0 else "none"]
