"""A run's row in the tables, as its folder, its record and the settings of a checkpoint say it.

A row is a dict whose keys are the words that messages use; a part that is not known is left out. What a run is must be
what its folder says, and a test's model must be of the test's row in all that the protocol does not change.
"""

import functools
import os
from typing import Optional

from .catalogue import TRAINERS, is_trained_on_target, learns
from .layout import PARTS, VARIANT, Place

_CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_KEYS = {  # what a row calls a part: its key in a config
    "trainer": "TRAINER.NAME",
    "seed": "SEED",
    "shots": "DATASET.NUM_SHOTS",
    "classes": "DATASET.SUBSAMPLE_CLASSES",
    "DATASET.NAME": "DATASET.NAME",
}
# Part of a test -> where its model was trained
_OF_MODEL = {"new": "base2new/train_base", "joint": "base2new/train_base", "target": "xd/train"}


def of_place(place: Place) -> dict:
    config, _, variant = place.cfg.partition(VARIANT)
    return {
        "trainer": place.trainer,
        "data set": place.dataset,
        "DATASET.NAME": _name_of(place.dataset),
        "classes": PARTS[place.folder].classes,
        "seed": place.seed,
        "shots": place.shots,
        "config": config,
        "variant": variant,
        "part": place.folder,
    }


def of_settings(settings: dict) -> dict:
    return {name: settings.get(key) for name, key in _KEYS.items()}


def of_record(record: dict) -> dict:
    given = record.get("given", {})
    keys = {"classes": "subsample_classes", "DATASET.NAME": "dataset", **{k: k for k in ("trainer", "seed", "shots")}}
    said = {name: record.get(key) for name, key in keys.items()}
    return {**said, "data set": given.get("dataset_config"), "config": given.get("config")}


def of_model(row: dict, part: str) -> dict:
    """The row of the model that a test of `row` is of; `part` is the test's, as in `layout.PARTS`."""
    model = {**row, "part": _OF_MODEL.get(part, row.get("part"))}
    if part in ("new", "joint"):
        model["classes"] = "base"
    if part == "target":
        model.update({"data set": None, "DATASET.NAME": None})
    return model


def tests_a_model(place: Place) -> bool:
    """Whether a run there is to test a model that was trained elsewhere; False of methods that are not known here."""
    part = PARTS[place.folder].name
    known = place.trainer in TRAINERS and learns(place.trainer)
    return known and part in _OF_MODEL and not (part == "target" and is_trained_on_target(place.trainer))


def difference(row: dict, other: dict) -> Optional[tuple]:
    """The first part in which two rows differ: (its name, the one's, the other's). What one does not say is equal."""
    for name, value in row.items():
        said = other.get(name)
        if value is not None and said is not None and str(value) != str(said):
            return name, value, said
    return None


@functools.cache
def _name_of(dataset):
    """DATASET.NAME of a file of configs/datasets/, None if there is no such."""
    from .yaml_file import read_config  # here, since a script that has nothing to do answers without YAML

    path = os.path.join(_CHECKOUT, "configs", "datasets", f"{dataset}.yaml")
    try:
        return read_config(path)["DATASET"]["NAME"]
    except (KeyError, TypeError, ValueError):  # a user's own data set, or a file that its run will refuse
        return None
