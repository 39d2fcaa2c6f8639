import random
from collections import Counter

import numpy as np
import pytest
import yaml
from PIL import Image

from dassl.data.datasets import build_dataset
from datasets.shapes import family
from datasets.shapes.captions import plural, words
from datasets.shapes.family import COUNT_NAMES, PATTERN_NAMES
from datasets.shapes.world import CLASSNAMES, COLOURS, NUMBERS, PATTERNS, SHAPES, one_object, picture
from tests.conftest import REPOSITORY
from tests.datasets.stubs import config

VARIANTS = {"sketch": "sketch", "texture": "textured", "clutter": "cluttered", "dark": "dark"}
OTHERS = {"counts": (COUNT_NAMES, NUMBERS), "patterns": (PATTERN_NAMES, PATTERNS)}
LOADERS = {name: getattr(family, f"Shapes{name.title()}") for name in (*VARIANTS, *OTHERS)}


@pytest.fixture
def small(monkeypatch):
    """All six with 10 classes of one picture per part."""
    for loader in LOADERS.values():
        monkeypatch.setattr(loader, "names", loader.names[:10])
        monkeypatch.setattr(loader, "splits", dict.fromkeys(loader.splits, 1))


def composed(name, classname, index=0):
    """The scene of a test picture; its loader needs no folder for that."""
    loader = object.__new__(LOADERS[name])
    return loader.compose(random.Random(f"shapes test {classname} {index}"), classname)


# --- the same classes in another style --------------------------------------------------------------------------


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


def test_choosing_a_model_on_a_variant_is_warned_about(small, tmp_path, capsys):
    build_dataset(config("shapes_dark", tmp_path, "TEST.FINAL_MODEL", "best_val"))
    assert "Warning: ShapesDark" in capsys.readouterr().out


# --- other classes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OTHERS)
def test_both_halves_hold_every_word(name):
    names, firsts = OTHERS[name]
    assert len(set(names)) == len(names) == len(firsts) * len(SHAPES)
    half = len(names) // 2
    for part in (names[:half], names[half:]):
        shapes = Counter(next(s for s in SHAPES if n.split()[1] in (s, plural(s))) for n in part)
        first = Counter(n.split()[0] for n in part)
        for found, all_words in ((shapes, SHAPES), (first, firsts)):
            assert set(found) == set(all_words) and max(found.values()) - min(found.values()) <= 2


@pytest.mark.parametrize("name", LOADERS)
def test_the_bundled_model_knows_every_word_of_the_prompts(name):
    known = set(words())
    template = yaml.safe_load((REPOSITORY / f"configs/datasets/shapes_{name}.yaml").read_text())["DATASET"]["TEMPLATE"]
    for classname in LOADERS[name].names:
        assert set(template.format(classname).replace(".", " .").split()) <= known


def test_counts_show_as_many_objects_as_they_say():
    colours = set()
    for classname in COUNT_NAMES:
        number, noun = classname.split()
        items = composed("counts", classname).items
        assert len(items) == NUMBERS.index(number) + 1
        assert len({i.colour for i in items}) == 1 and {i.pattern for i in items} == {"plain"}
        (shape,) = {i.shape for i in items}
        assert noun == (shape if len(items) == 1 else plural(shape))
        colours.add(items[0].colour)
    assert len(colours) > 5
    assert {"one circle", "two leaves", "five crosses"} < set(COUNT_NAMES)


def test_patterns_show_what_they_say():
    colours = set()
    for classname in PATTERN_NAMES:
        for index in range(5):
            (item,) = composed("patterns", classname, index).items
            assert f"{item.pattern} {item.shape}" == classname
            colours.add(item.colour)
    assert colours == set(COLOURS) - {"black"}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("half", ["all", "base", "new"])
def test_other_classes_have_all_parts(small, tmp_path, name, half):
    names = OTHERS[name][0][:10]
    settings = ("DATASET.SUBSAMPLE_CLASSES", half, "DATASET.NUM_SHOTS", 1)
    dataset = build_dataset(config(f"shapes_{name}", tmp_path, *settings))
    expected = {"all": names, "base": names[:5], "new": names[5:]}[half]
    assert dataset.classnames == expected
    assert len(dataset.train_x) == len(dataset.val) == len(dataset.test) == len(expected)
    assert (tmp_path / f"shapes_{name}/split_fewshot/shot_1-seed_1.json").is_file()
