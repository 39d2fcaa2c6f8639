import hashlib
import json
import os
import random
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import trainers.base  # noqa: F401  adds DATASET.SUBSAMPLE_CLASSES, as a fork's extend_cfg does
from dassl.config import get_cfg_default
from dassl.data.datasets import build_dataset
from datasets import shapes, shapes_world
from datasets.files import write_whole
from datasets.shapes_captions import caption, captioned_picture, plural, sample_scene, words
from datasets.shapes_world import (
    CLASSNAMES,
    CLEAN,
    COLOURS,
    GROUNDS,
    NUMBERS,
    PATTERNS,
    ROUGH,
    SHAPES,
    SIZE,
    SPLITS,
    STYLES,
    contrasts,
    draw,
    picture,
    several,
    single,
)
from tests.conftest import REPOSITORY

NAMES = (st.sampled_from(list(COLOURS)), st.sampled_from(list(SHAPES)))


def config(root, *pairs):
    cfg = get_cfg_default()
    cfg.merge_from_file(REPOSITORY / "configs/datasets/shapes.yaml")
    cfg.merge_from_list(["DATASET.ROOT", str(root), "SEED", 1, *pairs])
    return cfg


@pytest.fixture
def small(monkeypatch):
    """Shapes with 10 classes of 3 pictures."""
    monkeypatch.setattr(shapes.Shapes, "names", CLASSNAMES[:10])
    monkeypatch.setattr(shapes.Shapes, "splits", {"train": 1, "val": 1, "test": 1})


# --- the world --------------------------------------------------------------------------------------------------


def test_classes_are_fixed_and_both_halves_hold_every_colour_and_shape():
    assert len(set(CLASSNAMES)) == 100 and SPLITS == {"train": 30, "val": 10, "test": 20}
    assert CLASSNAMES[:3] == ["red triangle", "blue moon", "yellow ring"]
    for half in (CLASSNAMES[:50], CLASSNAMES[50:]):
        for part, names in ((0, COLOURS), (1, SHAPES)):
            counts = Counter(name.split()[part] for name in half)
            assert set(counts) == set(names) and min(counts.values()) >= 4


def test_a_picture_depends_on_its_name_alone():
    jobs = [("train", CLASSNAMES[i], i % 5) for i in range(0, 100, 9)]
    code = (
        "import hashlib; from datasets.shapes_world import picture;"
        f"[print(hashlib.sha256(picture(*job).tobytes()).hexdigest()) for job in {jobs!r}]"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    here = {job: hashlib.sha256(picture(*job).tobytes()).hexdigest() for job in reversed(jobs)}  # another order
    assert run.stdout.split() == [here[job] for job in jobs]


def test_pictures_are_those_that_the_tables_were_measured_on():
    for job, expected in (
        (("train", "red triangle", 0), [213, 231, 229, 238, 205, 7, 139, 228, 197, 192, 6, 216, 184, 196, 190, 213]),
        (("test", "blue moon", 7), [0, 0, 3, 14, 49, 21, 1, 11, 34, 27, 44, 46, 68, 73, 73, 73]),
    ):
        green = picture(*job)[8::16, 8::16, 1].ravel().astype(int)
        assert np.abs(green - expected).max() <= 2  # where numbers are rounded otherwise


def test_no_two_pictures_of_a_class_are_alike():
    pictures = [picture(split, "red circle", i).tobytes() for split, count in SPLITS.items() for i in range(count)]
    assert len(set(pictures)) == len(pictures) == 60


@given(*NAMES, st.sampled_from(PATTERNS), st.sampled_from(STYLES), st.sampled_from([CLEAN, ROUGH]), st.integers())
def test_an_object_lies_inside_and_shows(colour, shape, pattern, style, look, seed):
    scene = single(random.Random(seed), look, colour, shape, pattern, style)
    (item,) = scene.items
    assert item.radius < min(item.x, item.y) and max(item.x, item.y) < SIZE - item.radius
    assert contrasts(colour, scene.ground)
    pixels = draw(scene, str(seed), look)
    assert pixels.shape == (SIZE, SIZE, 3) and pixels.dtype == np.uint8
    assert pixels.std() > 3


@given(st.integers(2, 5), *NAMES, st.integers())
def test_several_objects_do_not_overlap(count, colour, shape, seed):
    items = several(random.Random(seed), CLEAN, [(colour, shape, "plain")] * count).items
    assert len(items) == count
    for i, a in enumerate(items):
        for b in items[:i]:
            assert np.hypot(a.x - b.x, a.y - b.y) > a.radius + b.radius


def test_every_shape_looks_different():
    masks = [shapes_world._mask(shapes_world.Item("red", s, "plain", 32, 32, 24, 0)) for s in SHAPES]
    for i, a in enumerate(masks):
        assert a.sum() > 300  # pixels
        for b in masks[:i]:
            assert np.abs(a - b).sum() > 0.15 * max(a.sum(), b.sum())


# --- captions ---------------------------------------------------------------------------------------------------

_WORDS = set(words())


@given(*NAMES, st.sampled_from(PATTERNS), st.sampled_from(STYLES), st.integers(1, 5), st.integers())
def test_captions_are_true_and_in_the_vocabulary(colour, shape, pattern, style, count, seed):
    rng = random.Random(seed)
    kinds = [(colour, shape, pattern)]
    scene = several(rng, CLEAN, kinds * count, style) if count > 1 else single(rng, CLEAN, *kinds[0], style)
    text = caption(scene, rng, wrong=0.0)
    found = set(text.replace(".", " .").replace("-", " - ").split())
    assert found <= _WORDS
    said = {s for s in SHAPES if s in found or plural(s) in found}
    assert said <= {shape} and (said or {"shape", "shapes"} & found)
    assert (found & set(COLOURS)) <= {colour, scene.ground}
    assert (found & set(PATTERNS)) <= {pattern}
    assert (found & set(NUMBERS)) <= {NUMBERS[count - 1]}
    assert (plural(shape) in found) <= (count > 1)
    if " on a " in text and text.split(" on a ")[1].split()[0] in GROUNDS:
        assert text.split(" on a ")[1].split()[0] == scene.ground


@given(*NAMES, st.integers())
def test_wrong_captions_are_wrong_in_one_respect(colour, shape, seed):
    rng = random.Random(seed)
    text = caption(single(rng, CLEAN, colour, shape), rng, wrong=1.0)
    found = set(text.replace(".", "").split())
    assert not (colour in text.split(" on ")[0].split() and shape in found)


def test_two_kinds_are_both_named():
    scene = several(random.Random(0), CLEAN, [("red", "circle", "plain"), ("blue", "star", "plain")])
    texts = [caption(scene, random.Random(i), wrong=0.0) for i in range(50)]
    assert all(" and " in text for text in texts)
    assert any("red circle" in text and "blue star" in text for text in texts)


def test_training_scenes_are_repeatable_and_of_every_sort():
    scenes = [sample_scene(i, 1) for i in range(400)]
    assert scenes == [sample_scene(i, 1) for i in range(400)] and scenes[0] != sample_scene(0, 2)
    assert {len(scene.items) for scene, _ in scenes} == {1, 2, 3, 4, 5}
    assert {scene.style for scene, _ in scenes} == set(STYLES)
    assert {item.pattern for scene, _ in scenes for item in scene.items} == set(PATTERNS)
    first, second = captioned_picture((7, 1)), captioned_picture((7, 1))
    assert first[0] == scenes[7][0] and np.array_equal(first[2], second[2])


# --- the data set -----------------------------------------------------------------------------------------------


def test_the_first_use_draws_the_data_set(small, tmp_path):
    dataset = build_dataset(config(tmp_path))

    assert (len(dataset.train_x), len(dataset.val), len(dataset.test)) == (10, 10, 10)
    assert dataset.classnames == CLASSNAMES[:10]
    item = dataset.test[4]
    assert item.impath == str(tmp_path / "shapes/images" / CLASSNAMES[4].replace(" ", "_") / "test_00.png")
    assert np.array_equal(np.asarray(Image.open(item.impath)), picture("test", CLASSNAMES[4], 0))
    split = json.loads((tmp_path / "shapes/split_zhou_Shapes.json").read_text())
    assert split["val"][7] == [f"{CLASSNAMES[7].replace(' ', '_')}/val_00.png", 7, CLASSNAMES[7]]


@pytest.mark.parametrize("half, names", [("base", CLASSNAMES[:5]), ("new", CLASSNAMES[5:10])])
def test_halves(small, tmp_path, half, names):
    dataset = build_dataset(config(tmp_path, "DATASET.SUBSAMPLE_CLASSES", half, "DATASET.NUM_SHOTS", 1))
    assert dataset.classnames == names and len(dataset.train_x) == len(dataset.test) == 5


def test_an_interrupted_drawing_goes_on(small, tmp_path, monkeypatch):
    written = []

    def interrupted(path, *args):
        written.append(path)
        if len(written) == 20:
            raise KeyboardInterrupt
        write_whole(path, *args)

    monkeypatch.setattr(shapes, "write_whole", interrupted)
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
        patch.setattr(shapes.Shapes, "splits", {"train": 1, "val": 1, "test": 2})
        with pytest.raises(ValueError, match="delete"):
            build_dataset(config(tmp_path))
    monkeypatch.setattr(shapes_world, "ROUGH", replace(ROUGH, noise=(6, 28)))
    with pytest.raises(ValueError, match="delete"):
        build_dataset(config(tmp_path))


def test_pictures_that_are_rounded_otherwise_are_accepted(small, tmp_path):
    build_dataset(config(tmp_path))
    for path in (tmp_path / "shapes").rglob("*.png"):
        redraw(path, np.eye(SIZE, dtype=int)[..., None] * 5)
    build_dataset(config(tmp_path))


def test_a_picture_cut_short_is_not_left_behind(small, tmp_path, monkeypatch):
    def cut(image, file, format):
        file.write(b"half a picture")
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", cut)
    with pytest.raises(KeyboardInterrupt):
        build_dataset(config(tmp_path))
    assert not [p for p in (tmp_path / "shapes").rglob("*") if p.is_file()]


def test_a_root_that_cannot_be_written_to(small, tmp_path, monkeypatch):
    def refuse(path, *args, **kwargs):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "makedirs", refuse)  # permissions do not bind root, so they are played
    with pytest.raises(ValueError, match="Shapes cannot be drawn in .*Permission denied.*--root"):
        build_dataset(config(tmp_path))
