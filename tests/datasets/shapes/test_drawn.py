import json
import os
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from PIL import Image

from dassl.data.datasets import build_dataset
from dassl.utils import write_whole
from datasets.shapes import drawn
from datasets.shapes.family import Shapes
from datasets.shapes.world import CLASSNAMES, ROUGH, SIZE, picture
from tests.conftest import raiser
from tests.datasets import stubs

config = partial(stubs.config, "shapes")


@pytest.fixture
def small(monkeypatch):
    """Shapes with 10 classes of 3 pictures."""
    monkeypatch.setattr(Shapes, "names", CLASSNAMES[:10])
    monkeypatch.setattr(Shapes, "splits", {"train": 1, "val": 1, "test": 1})


def test_the_first_use_draws_the_data_set(small, tmp_path):
    dataset = build_dataset(config(tmp_path))

    assert (len(dataset.train_x), len(dataset.val), len(dataset.test)) == (10, 10, 10)
    assert dataset.classnames == CLASSNAMES[:10]
    item = dataset.test[4]
    assert item.impath == str(tmp_path / "shapes/images" / CLASSNAMES[4].replace(" ", "_") / "test_00.png")
    assert np.array_equal(np.asarray(Image.open(item.impath)), picture("test", CLASSNAMES[4], 0))
    split = json.loads((tmp_path / "shapes/split_zhou_Shapes.json").read_text())
    assert split["val"][7] == [f"{CLASSNAMES[7].replace(' ', '_')}/val_00.png", 7, CLASSNAMES[7]]


def test_an_interrupted_drawing_goes_on(small, tmp_path, monkeypatch):
    written = []

    def interrupted(path, *args):
        written.append(path)
        if len(written) == 20:
            raise KeyboardInterrupt
        write_whole(path, *args)

    monkeypatch.setattr(drawn, "write_whole", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build_dataset(config(tmp_path))
    assert not (tmp_path / "shapes/split_zhou_Shapes.json").exists()
    assert len(list(tmp_path.rglob("*.png"))) == 19

    dataset = build_dataset(config(tmp_path))
    assert len(written) == 20 + 11 + 1  # nothing whole is drawn twice; the split file
    assert all(os.path.isfile(i.impath) for i in dataset.train_x + dataset.val + dataset.test)
    assert not list(tmp_path.rglob("*.tmp"))

    build_dataset(config(tmp_path))
    assert len(written) == 32  # complete: nothing is drawn


def redraw(path, change):
    pixels = np.asarray(Image.open(path)).astype(int)
    Image.fromarray(np.clip(pixels + change, 0, 255).astype(np.uint8)).save(path)


def cut(path):
    path.write_bytes(path.read_bytes()[:-900])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: redraw(folder / "images/red_triangle/train_00.png", 3),
        lambda folder: cut(folder / "images/red_triangle/train_00.png"),
        lambda folder: (folder / "images/red_triangle/train_00.png").unlink(),
        lambda folder: cut(folder / "split_zhou_Shapes.json"),
        lambda folder: (folder / "split_zhou_Shapes.json").write_bytes(b"\xff\xfe"),
    ],
)
def test_what_another_generator_drew_is_refused(small, tmp_path, spoil):
    build_dataset(config(tmp_path))
    spoil(tmp_path / "shapes")
    with pytest.raises(ValueError, match="shapes does not hold what this version of Shapes draws: delete"):
        build_dataset(config(tmp_path))


def test_another_number_of_pictures_or_look_is_refused(small, tmp_path, monkeypatch):
    build_dataset(config(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(Shapes, "splits", {"train": 1, "val": 1, "test": 2})
        with pytest.raises(ValueError, match="delete"):
            build_dataset(config(tmp_path))
    monkeypatch.setattr(Shapes, "look", replace(ROUGH, noise=(6, 28)))
    with pytest.raises(ValueError, match="delete"):
        build_dataset(config(tmp_path))


def test_pictures_that_are_rounded_otherwise_are_accepted(small, tmp_path):
    build_dataset(config(tmp_path))
    for path in (tmp_path / "shapes").rglob("*.png"):
        redraw(path, np.eye(SIZE, dtype=int)[..., None] * 5)
    build_dataset(config(tmp_path))


def test_a_root_that_cannot_be_written_to(small, tmp_path, monkeypatch):
    denied = raiser(PermissionError(13, "Permission denied"))
    monkeypatch.setattr(os, "makedirs", denied)  # permissions do not bind root, so they are played
    with pytest.raises(ValueError, match="Shapes cannot be drawn in .*Permission denied.*--root"):
        build_dataset(config(tmp_path))
