import json
import os
import shutil

import pytest

import trainers.base  # noqa: F401  adds DATASET.SUBSAMPLE_CLASSES, as a fork's extend_cfg does
from dassl.config import get_cfg_default
from dassl.data.datasets import build_dataset
from datasets.caltech101 import Caltech101
from tests.conftest import GOLDEN, REPOSITORY


def config(root, *pairs):
    cfg = get_cfg_default()
    cfg.merge_from_file(REPOSITORY / "configs/datasets/caltech101.yaml")
    cfg.merge_from_list(["DATASET.ROOT", str(root), "SEED", 2, "DATASET.NUM_SHOTS", 4, *pairs])
    return cfg


@pytest.mark.parametrize("half", ["all", "base", "new"])
def test_images_labels_and_names(caltech_stub, half):
    dataset = build_dataset(config(caltech_stub, "DATASET.SUBSAMPLE_CLASSES", half))

    expected = json.loads((GOLDEN / "fewshot_expected.json").read_text())[f"seed2-shots4-{half}"]
    images = caltech_stub / "caltech-101" / "101_ObjectCategories"
    for items, entries in ((dataset.train_x, expected["train"]), (dataset.val, expected["val"])):
        assert [[i.impath, i.label] for i in items] == [[str(images / path), label] for path, label in entries]
    assert len(dataset.test) == expected["test"]
    assert dataset.classnames == expected["classnames"]
    assert (caltech_stub / "caltech-101" / "split_fewshot" / "shot_4-seed_2.json").is_file()


def test_without_a_seed_a_run_keeps_its_sample(caltech_stub, tmp_path):
    def sample(output, half="all"):
        pairs = ("SEED", -1, "OUTPUT_DIR", str(tmp_path / output), "DATASET.SUBSAMPLE_CLASSES", half)
        dataset = build_dataset(config(caltech_stub, *pairs))
        return [i.impath for i in dataset.train_x], [i.impath for i in dataset.val]

    first = sample("a")
    assert sample("a") == first and set(sample("a", "base")[0]) < set(first[0])
    assert sample("b") != first
    assert not (caltech_stub / "caltech-101/split_fewshot").exists()


def test_home_and_links(caltech_stub, monkeypatch, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "sets").symlink_to(caltech_stub)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    dataset = Caltech101(config("~/sets"))
    assert dataset.num_classes == 13
    assert dataset.train_x[0].impath.startswith(str(tmp_path / "home" / "sets"))


def test_a_missing_split_file_is_never_made_up(caltech_stub):
    path = caltech_stub / "caltech-101" / "split_zhou_Caltech101.json"
    path.unlink()
    with pytest.raises(FileNotFoundError) as error:
        Caltech101(config(caltech_stub))
    assert "1hyarUivQE36mY6jSomru6Fjd-JzwcCzN" in str(error.value) and str(path) in str(error.value)
    assert not path.exists()


def test_missing_images(caltech_stub):
    shutil.rmtree(caltech_stub / "caltech-101" / "101_ObjectCategories")
    with pytest.raises(FileNotFoundError, match="unpack `101_ObjectCategories.tar.gz`"):
        Caltech101(config(caltech_stub))


def test_a_missing_image_is_named(caltech_stub):
    name = "lotus/image_0004.jpg"
    os.remove(caltech_stub / "caltech-101" / "101_ObjectCategories" / name)
    with pytest.raises(FileNotFoundError, match=name):
        Caltech101(config(caltech_stub))


def test_data_root(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"data root {tmp_path}/none does not exist: .* --root"):
        Caltech101(config(tmp_path / "none"))
    with pytest.raises(ValueError, match="No data root is given: .* --root"):
        Caltech101(config(""))
