"""Loaders on CoOp's own split files: classes, halves, sizes, few-shot samples; no picture is opened."""

import math

import pytest

from dassl.data.classes import same_to_clip
from dassl.data.datasets import Datum, build_dataset
from datasets import published
from datasets.few_shot import draw_few_shot
from tests.datasets.stubs import SPLITS, config
from tests.real_splits import REAL, lay_out, names_of, needs_them, split_file

pytestmark = needs_them


@pytest.fixture(autouse=True)
def no_picture_is_looked_for(monkeypatch):
    monkeypatch.setattr(Datum, "__post_init__", lambda self: None)


@pytest.mark.parametrize("stem", REAL)
def test_loaders(stem, tmp_path, capsys):
    name, n_classes = REAL[stem]
    lay_out(tmp_path, stem)
    everything = build_dataset(config(stem, tmp_path))
    said = capsys.readouterr().out
    assert f"The split is CoOp's own, split_zhou_{name}.json" in said and "Warning" not in said
    assert everything.origin == {"split_file": "coop"}
    assert everything.classnames == names_of(name) and everything.num_classes == n_classes
    assert not same_to_clip(everything.classnames)
    sizes = {part: len(getattr(everything, part)) for part in ("train_x", "val", "test")}
    assert tuple(sizes.values()) == type(everything).expected_images

    halves = [build_dataset(config(stem, tmp_path, "DATASET.SUBSAMPLE_CLASSES", half)) for half in ("base", "new")]
    assert [half.num_classes for half in halves] == [math.ceil(n_classes / 2), n_classes // 2]
    assert halves[0].classnames + halves[1].classnames == everything.classnames
    for part, n in sizes.items():
        assert sum(len(getattr(half, part)) for half in halves) == n


@pytest.mark.parametrize("stem", REAL)
def test_few_shot_samples_are_the_published_ones(stem, tmp_path):
    name, _ = REAL[stem]
    lay_out(tmp_path, stem)
    dataset = build_dataset(config(stem, tmp_path))
    folder = str(tmp_path / SPLITS[stem][1])
    for shots in (1, 2, 4, 8, 16):
        for seed in (1, 2, 3):
            cfg = config(stem, tmp_path, "DATASET.NUM_SHOTS", shots, "SEED", seed)
            train, val = draw_few_shot(dataset, dataset.train_x, dataset.val, cfg, folder)
            drawn = published.sample_origin(name, train, val, shots, seed, folder)
            assert drawn == f"coop, shots {shots}, seed {seed}"
            other = published.sample_origin(name, train[1:], val, shots, seed, folder)
            assert other == f"another, shots {shots}, seed {seed}"
    cfg = config(stem, tmp_path, "DATASET.NUM_SHOTS", 4, "DATASET.SUBSAMPLE_CLASSES", "new", "SEED", 2)
    assert build_dataset(cfg).origin == {"split_file": "coop", "sample": "coop, shots 4, seed 2"}


@pytest.mark.parametrize("stem", REAL)
def test_another_split_is_told(stem, tmp_path, capsys):
    name, _ = REAL[stem]
    lay_out(tmp_path, stem)
    path = tmp_path / SPLITS[stem][1] / f"split_zhou_{name}.json"
    path.unlink()
    path.write_text(split_file(name).read_text() + "\n")
    cfg = config(stem, tmp_path, "DATASET.NUM_SHOTS", 1)
    # of the same images and labels: the sample is still the published one
    assert build_dataset(cfg).origin == {"split_file": "another", "sample": "coop, shots 1, seed 1"}
    assert f"The split is another than CoOp's: split_zhou_{name}.json has" in capsys.readouterr().out
