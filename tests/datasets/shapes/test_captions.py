import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dassl.data.datasets import DATASET_REGISTRY
from datasets.shapes.captions import caption, captioned_picture, plural, sample_scene, words
from datasets.shapes.world import CLEAN, COLOURS, GROUNDS, NUMBERS, PATTERNS, SHAPES, STYLES, several, single
from harness.catalogue import BUNDLED
from tests.datasets.stubs import config

NAMES = (st.sampled_from(list(COLOURS)), st.sampled_from(list(SHAPES)))
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


@pytest.mark.parametrize("stem", BUNDLED)
def test_the_bundled_model_knows_every_word_of_the_prompts(stem):
    dataset = config(stem, "").DATASET
    for classname in DATASET_REGISTRY.get(dataset.NAME).names:
        assert set(dataset.TEMPLATE.format(classname).replace(".", " .").split()) <= _WORDS


def test_training_scenes_are_repeatable_and_of_every_sort():
    scenes = [sample_scene(i, 1) for i in range(400)]
    assert scenes == [sample_scene(i, 1) for i in range(400)] and scenes[0] != sample_scene(0, 2)
    assert {len(scene.items) for scene, _ in scenes} == {1, 2, 3, 4, 5}
    assert {scene.style for scene, _ in scenes} == set(STYLES)
    assert {item.pattern for scene, _ in scenes for item in scene.items} == set(PATTERNS)
    first, second = captioned_picture((7, 1)), captioned_picture((7, 1))
    assert first[0] == scenes[7][0] and np.array_equal(first[2], second[2])
