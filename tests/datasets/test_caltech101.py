import json

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


def test_data_root(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"data root {tmp_path}/none does not exist: .* --root"):
        Caltech101(config(tmp_path / "none"))
    with pytest.raises(ValueError, match="No data root is given: .* --root"):
        Caltech101(config(""))
