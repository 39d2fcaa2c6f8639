import copy
import os
import pickle
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dassl.data.datasets import DATASET_REGISTRY, DatasetBase, Datum, build_dataset
from tests.conftest import REPOSITORY

HERE = str(Path(__file__))


def items(labels):
    return [Datum(HERE, label, 0, f"name {label}") for label in labels]


def test_datum_is_one_image():
    datum = Datum(HERE, 3, 1, "cat")
    assert (datum.impath, datum.label, datum.domain, datum.classname) == (HERE, 3, 1, "cat")
    assert datum != Datum(HERE, 3, 1, "cat") and len({datum, datum}) == 1  # a picture may be listed twice
    with pytest.raises(FileNotFoundError, match=r'image "nowhere\.png" does not exist'):
        Datum("nowhere.png")


def test_classes_come_from_train_x():
    train, test = items([2, 0, 2, 1]), items([1])
    dataset = DatasetBase(train_x=train, test=test)
    assert (dataset.train_x, dataset.train_u, dataset.val, dataset.test) == (train, None, None, test)
    assert dataset.num_classes == 3
    assert dataset.lab2cname == {0: "name 0", 1: "name 1", 2: "name 2"}
    assert dataset.classnames == ["name 0", "name 1", "name 2"]


def test_empty_training_set_is_refused():
    with pytest.raises(ValueError, match="no training images"):
        DatasetBase(train_x=[])


# ---------------------------------------------------------------- few shots
SOURCE = items([2, 0, 2, 0, 2, 1, 2, 2])
DATASET = DatasetBase(train_x=SOURCE)


def test_few_shots_are_drawn_class_by_class_in_first_seen_order():
    random.seed(4)
    drawn = DATASET.generate_fewshot_dataset(SOURCE, num_shots=2)
    random.seed(4)
    twos = random.sample([SOURCE[i] for i in (0, 2, 4, 6, 7)], 2)
    zeros = random.sample([SOURCE[1], SOURCE[3]], 2)
    assert drawn == twos + zeros + [SOURCE[5]]  # a class with fewer gives all it has, without a draw


def test_few_shots_with_repetition():
    random.seed(4)
    drawn = DATASET.generate_fewshot_dataset(SOURCE, num_shots=3, repeat=True)
    random.seed(4)
    twos = random.sample([SOURCE[i] for i in (0, 2, 4, 6, 7)], 3)
    zeros = random.choices([SOURCE[1], SOURCE[3]], k=3)
    assert drawn == twos + zeros + [SOURCE[5]] * 3


def test_few_shots_of_several_lists():
    first, second = DATASET.generate_fewshot_dataset(SOURCE, SOURCE[:4], num_shots=1)
    assert [item.label for item in first] == [2, 0, 1] and [item.label for item in second] == [2, 0]


def test_below_one_shot_means_all():
    assert DATASET.generate_fewshot_dataset(SOURCE, num_shots=-1) is SOURCE
    assert DATASET.generate_fewshot_dataset(SOURCE, SOURCE, num_shots=0) == (SOURCE, SOURCE)


def test_grouping_keeps_first_seen_order():
    source = items([1, 0, 1])
    assert dict(DATASET.split_dataset_by_label(source)) == {1: [source[0], source[2]], 0: [source[1]]}


# ---------------------------------------------------------------- domains, registry
def test_domains_are_checked():
    dataset = DatasetBase(train_x=SOURCE)
    dataset.domains = ["photo", "sketch"]
    dataset.check_input_domains(["photo"], ["sketch"])
    with pytest.raises(ValueError, match='unknown domain "art"; known: photo, sketch'):
        dataset.check_input_domains(["photo"], ["art"])
    with pytest.raises(ValueError, match="SOURCE_DOMAINS is empty"):
        dataset.check_input_domains([], ["art"])


def test_data_set_is_built_by_name(cfg, capsys):
    assert isinstance(build_dataset(cfg), DATASET_REGISTRY.get("Toy"))
    assert capsys.readouterr().out == "Loading dataset: Toy\n"


def test_few_shot_samples_are_shared_with_the_original(tmp_path):
    """As forks of CoOp pickle them: what the original wrote is read, and what is written here has its names."""
    image = tmp_path / "a.jpg"
    image.touch()
    ours = Datum(impath=str(image), label=3, classname="cat")
    written = pickle.dumps(ours, protocol=pickle.HIGHEST_PROTOCOL)
    assert b"dassl.data.datasets.base_dataset" in written
    names = {"_impath": str(image), "_label": 3, "_domain": 0, "_classname": "cat"}
    assert ours.__reduce_ex__(4)[2] == names  # the attributes that the original's Datum has
    for again in (pickle.loads(written), copy.copy(ours)):
        assert vars(again) == vars(ours) == {name[1:]: value for name, value in names.items()}


def test_the_folder_alone(tmp_path):
    """In a fork's place for Dassl, without what else is here."""
    shutil.copytree(REPOSITORY / "dassl", tmp_path / "dassl", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-c", "import dassl.config, dassl.utils; print(dassl.__file__)"]
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": ""}, capture_output=True, text=True)
    assert done.stdout.strip() == str(tmp_path / "dassl/__init__.py"), done.stderr
