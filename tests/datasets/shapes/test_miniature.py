"""The miniature: what its pictures show, and that its halves are disjoint in an attribute."""

import random
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from dassl.data.datasets import build_dataset
from datasets.shapes import miniature
from datasets.shapes.captions import plural
from datasets.shapes.world import CLEAN, COLOURS, GROUNDS, NUMBERS, ROUGH, SHAPES, contrasts
from harness.catalogue import MINIATURE
from tests.datasets.stubs import config

LOADERS = {name: getattr(miniature, f"Mini{name.partition('_')[2].title()}") for name in MINIATURE}
SINGULAR = {plural(shape): shape for shape in SHAPES}
# what the halves do not share
APART = {
    "mini_objects": COLOURS,
    "mini_fine": COLOURS,
    "mini_patterns": COLOURS,
    "mini_counts": SHAPES,
    "mini_sketch": SHAPES,
    "mini_rough": SHAPES,
    "mini_scenes": COLOURS,
}


def scene(name, classname, index=0):
    """The scene of a picture; its loader needs no folder for that."""
    return object.__new__(LOADERS[name]).compose(random.Random(f"{classname} {index}"), classname)


def attributes(classname, values):
    return {SINGULAR.get(word, word) for word in classname.split()} & set(values)


@pytest.mark.parametrize("name", MINIATURE)
def test_halves_are_disjoint_in_an_attribute_and_of_one_size(name):
    names = LOADERS[name].names
    base, new = names[: len(names) // 2], names[len(names) // 2 :]
    assert len(set(names)) == len(names) and len(base) == len(new) >= 16
    seen, unseen = (set().union(*(attributes(n, APART[name]) for n in half)) for half in (base, new))
    assert seen and unseen and not seen & unseen


@pytest.mark.parametrize("name", MINIATURE)
def test_pictures_show_what_their_class_says(name):
    loader, grounds = LOADERS[name], set()
    for classname in loader.names:
        drawn = scene(name, classname)
        said = classname.split()
        grounds.add(drawn.ground)
        colours, shapes = {i.colour for i in drawn.items}, {i.shape for i in drawn.items}
        subject = said[: said.index("on")] if "on" in said else said
        assert attributes(" ".join(subject), COLOURS) in (set(), colours) and attributes(classname, SHAPES) in (
            set(),
            shapes,
        )
        assert len(drawn.items) == (NUMBERS.index(said[0]) + 1 if said[0] in NUMBERS else 1)
        assert {i.pattern for i in drawn.items} == {next((w for w in said if w in miniature.PATTERNS), "plain")}
        if "on" in said:
            assert drawn.ground == said[-1]
        for radius in miniature.RADII.get(said[0], ()) and [drawn.items[0].radius]:
            low, high = miniature.RADII[said[0]]
            assert low <= radius <= high
        assert all(contrasts(i.colour, drawn.ground) for i in drawn.items)
        assert drawn.style == ("sketch" if name in ("mini_sketch", "mini_rough") else "normal")
    assert len(grounds) >= 9 and grounds <= set(GROUNDS)
    assert loader.look == (ROUGH if name == "mini_rough" else CLEAN)


@pytest.mark.parametrize("name", MINIATURE)
@pytest.mark.parametrize("half", ["all", "base", "new"])
def test_all_parts_are_drawn_in_their_look(name, half, tmp_path, monkeypatch):
    loader = LOADERS[name]
    names = loader.names[:3] + loader.names[-3:]
    monkeypatch.setattr(loader, "names", names)
    monkeypatch.setattr(loader, "splits", dict.fromkeys(loader.splits, 1))
    dataset = build_dataset(config(name, tmp_path, "DATASET.SUBSAMPLE_CLASSES", half, "DATASET.NUM_SHOTS", 1))
    assert dataset.classnames == {"all": names, "base": names[:3], "new": names[3:]}[half]
    assert len(dataset.train_x) == len(dataset.val) == len(dataset.test) == len(dataset.classnames)
    item = dataset.test[0]
    pixels = np.asarray(Image.open(item.impath))
    assert np.array_equal(pixels, dataset.picture("test", item.classname, 0))
    monkeypatch.setattr(loader, "look", replace(loader.look, noise=(99, 99)))
    assert not np.array_equal(pixels, dataset.picture("test", item.classname, 0))
