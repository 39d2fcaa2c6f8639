"""What must not be averaged: runs that differ in more than the seed."""

from collections import defaultdict

from ..records import complete
from .samples import other_images

EPOCH = "the epoch of its model"  # among the settings that are compared
WEIGHTS = "the weights of the backbone"  # among them, too, but not of earlier versions


def unmix(runs) -> tuple:
    """The runs, without the results that must not be averaged, and sentences: on those, and on results of other images.

    Seeds may differ in nothing but the seed, and a test in nothing but the data set from the training whose model it
    tested. The epoch of a model counts as a setting. Runs whose settings are not on record cannot be checked, and stay.
    """
    groups, trainings = defaultdict(list), {}
    for run in runs:
        epoch = {} if run.epoch is None else {EPOCH: run.epoch}
        run = run._replace(settings={**complete(run.settings), **epoch})
        groups[run._replace(seed=0).what].append(run)
        if run.part in ("base", "source"):
            trainings[_training(run, run.dataset)] = run
    kept, notes = [], []
    for group in groups.values():
        known = [run for run in group if run.settings and run.accuracy is not None]
        name = f"{group[0].trainer} on {group[0].dataset}"
        own = ("SEED", *[EPOCH] * group[0].keeps_best)
        for key in [key for key in _differing(known) if key not in own][:1]:
            values = ", ".join(f"{run.settings.get(key)!r} in seed {run.seed}" for run in known)
            notes.append(f"{name}: {key} is {values}, so these are not averaged.")
            group = [run._replace(accuracy=None) if run in known else run for run in group]
        if len({WEIGHTS in run.settings for run in known}) > 1:
            notes.append(f"{name}: some runs are of an earlier version, of whose backbone a part alone was compared.")
        for run in group:
            trained = trainings.get(_training(run, run.source or run.dataset))
            if run.part in ("new", "joint", "target") and run.accuracy is not None and trained:
                counts = _of_target if run.part == "target" else _of_model
                for key in [key for key in _differing((trained, run)) if counts(key)][:1]:
                    notes.append(
                        f"{name}, seed {run.seed}: {key} is {run.settings[key]!r} in the test, but "
                        f"{trained.settings[key]!r} in the training, so the test does not count."
                    )
                    run = run._replace(accuracy=None)
            kept.append(run)
    return kept, notes + other_images(kept)


def _training(run, dataset):
    return run.root, run.protocol, dataset, run.shots, run.trainer, run.cfg, run.seed


def _of_model(key):
    return not key.startswith(("DATASET.", "TEST.")) and "the test images" not in key


def _of_target(key):
    """As `_of_model`, but a target has a file of its own about its classes; that there is one, its test has looked."""
    return _of_model(key) and not (key.startswith("TRAINER.") and key.endswith("_CHECKSUM"))


def _differing(runs):
    """The settings of which not all runs that have them have the same value."""
    first, found = {}, set()
    for run in runs:
        found |= {key for key, value in run.settings.items() if first.setdefault(key, value) != value}
    return sorted(found)
