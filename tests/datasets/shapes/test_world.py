import random
from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from datasets.shapes.world import (
    CLASSNAMES,
    CLEAN,
    COLOURS,
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

NAMES = (st.sampled_from(list(COLOURS)), st.sampled_from(list(SHAPES)))


def test_classes_are_fixed_and_both_halves_hold_every_colour_and_shape():
    assert len(set(CLASSNAMES)) == 100 and SPLITS == {"train": 30, "val": 10, "test": 20}
    assert CLASSNAMES[:3] == ["red triangle", "blue moon", "yellow ring"]
    for half in (CLASSNAMES[:50], CLASSNAMES[50:]):
        for part, names in ((0, COLOURS), (1, SHAPES)):
            counts = Counter(name.split()[part] for name in half)
            assert set(counts) == set(names) and min(counts.values()) >= 4


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
