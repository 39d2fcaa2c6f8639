import random

import numpy as np
import pytest
from PIL import Image

from dassl.data.datasets import build_dataset
from datasets.shapes import family
from datasets.shapes.world import CLASSNAMES, one_object, picture
from tests.datasets.stubs import config

VARIANTS = {"sketch": "sketch", "texture": "textured", "clutter": "cluttered", "dark": "dark"}
LOADERS = {name: getattr(family, f"Shapes{name.title()}") for name in VARIANTS}


@pytest.fixture
def small(monkeypatch):
    """All four with 10 classes of one picture."""
    for loader in LOADERS.values():
        monkeypatch.setattr(loader, "names", loader.names[:10])
        monkeypatch.setattr(loader, "splits", dict.fromkeys(loader.splits, 1))


def composed(name, classname, index=0):
    """The scene of a test picture; its loader needs no folder for that."""
    loader = object.__new__(LOADERS[name])
    return loader.compose(random.Random(f"shapes test {classname} {index}"), classname)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_is_shapes_test_part_in_another_style(name):
    for classname in CLASSNAMES[::17]:
        scene = composed(name, classname)
        plain = one_object(random.Random(f"shapes test {classname} 0"), classname)
        assert scene.style == VARIANTS[name] and scene.items == plain.items and scene.ground == plain.ground
        drawn = picture("test", classname, 0, object.__new__(LOADERS[name]).compose)
        assert np.abs(drawn.astype(int) - picture("test", classname, 0)).mean() > 1


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_is_a_test_set(small, tmp_path, name, capsys):
    dataset = build_dataset(config(f"shapes_{name}", tmp_path, "DATASET.NUM_SHOTS", 16))
    assert dataset.classnames == CLASSNAMES[:10] and len(dataset.test) == 10
    assert dataset.train_x is dataset.val is dataset.test
    assert not (tmp_path / f"shapes_{name}/split_fewshot").exists()
    assert "Warning" not in capsys.readouterr().out
    item = dataset.test[4]
    assert item.impath == str(tmp_path / f"shapes_{name}/images" / CLASSNAMES[4].replace(" ", "_") / "test_00.png")
    drawn = picture("test", CLASSNAMES[4], 0, dataset.compose)
    assert np.array_equal(np.asarray(Image.open(item.impath)), drawn)

    with pytest.raises(ValueError, match=f"Shapes{name.title()} is tested on all of its classes"):
        build_dataset(config(f"shapes_{name}", tmp_path, "DATASET.SUBSAMPLE_CLASSES", "new"))
