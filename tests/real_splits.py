"""CoOp's own split files of seven data sets, which lie beside some checkouts, in ../shared/splits."""

import json
import os

import pytest

import train  # noqa: F401  registers every data set
from dassl.data.datasets import DATASET_REGISTRY
from tests.conftest import REPOSITORY

FOLDER = REPOSITORY.parent / "shared/splits"
# stem: (registered name, classes)
REAL = {
    "caltech101": ("Caltech101", 100),
    "oxford_pets": ("OxfordPets", 37),
    "stanford_cars": ("StanfordCars", 196),
    "oxford_flowers": ("OxfordFlowers", 102),
    "dtd": ("DescribableTextures", 47),
    "eurosat": ("EuroSAT", 10),
    "ucf101": ("UCF101", 101),
}
needs_them = pytest.mark.skipif(not FOLDER.is_dir(), reason="needs CoOp's split files in ../shared/splits")


def split_file(name):
    return FOLDER / f"split_zhou_{name}.json"


def names_of(name):
    """The class names of a data set, in the order of labels."""
    split = json.loads(split_file(name).read_text())
    return [classname for _, classname in sorted({(label, classname) for _, label, classname in split["train"]})]


def lay_out(root, stem):
    """What a loader looks for if it opens no picture: the split file, and empty folders of images."""
    loader = DATASET_REGISTRY.get(REAL[stem][0])
    folder = root / loader.dataset_dir
    folder.mkdir()
    for name in loader.files():
        if name == loader.split_file:
            os.symlink(FOLDER / name, folder / name)
        else:
            (folder / name).mkdir(parents=True)
