"""Labels and class names that say without doubt which class an image is of, and those that do not."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dassl.data.classes import check_classes, same_to_clip
from dassl.data.datasets import DatasetBase
from trainers.prompting.model import encode_prompts
from trainers.prompting.prompt_text import tokenize, words_of

NAMES = ("cat", "dog", "ox", "owl")


def image(label, name=None, path="a.jpg"):
    return SimpleNamespace(label=label, classname=NAMES[label] if name is None else name, impath=path, domain=0)


def refusal(source="Pets", shared_names=False, **parts):
    with pytest.raises(ValueError) as error:
        check_classes(parts, source, shared_names)
    text = str(error.value)
    assert "\n" not in text and text.startswith(source) and text.endswith(".")
    return text


@given(st.lists(st.integers(0, 3), min_size=1), st.lists(st.integers(0, 3)), st.booleans())
def test_whatever_is_consistent_is_accepted(train, test, numpy):
    number = np.int64 if numpy else int
    names = sorted(set(train))
    train = [image(number(names.index(y)), NAMES[y]) for y in train]
    test = [image(names.index(y), NAMES[y]) for y in test if y in names]
    check_classes({"train": train, "val": None, "test": test}, "Pets")
    dataset = DatasetBase(train_x=train, test=test)
    assert dataset.num_classes == len(dataset.classnames) == len(names)
    assert [dataset.lab2cname[y] for y in range(len(names))] == dataset.classnames


@given(st.lists(st.integers(-3, 6), min_size=1))
def test_labels_that_are_not_0_to_n_are_refused(labels):
    images = [image(y, f"class {y}", f"{i}.jpg") for i, y in enumerate(labels)]
    n = len(set(labels))
    if set(labels) == set(range(n)):
        check_classes({"train": images}, "Pets")
        return
    text = refusal(train=images)
    wrong = min(set(labels) - set(range(n)))
    i = labels.index(wrong)
    assert text == (
        f'Pets, entry {i + 1} of train ("{i}.jpg"), has the label {wrong}, but {n} classes have labels 0 to {n - 1}: '
        "number them from 0 without a gap."
    )


@pytest.mark.parametrize("label", [1.5, 1.0, True, "1", None, [1], float("nan"), np.bool_(True), np.float32(1)])
@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_labels_that_are_no_whole_numbers(label, part):
    parts = {"train": [image(0), image(1)], "val": [image(0)], "test": [image(0)]}
    parts[part] = [*parts[part], image(label, "dog", "b.jpg")]
    entry = len(parts[part])
    assert refusal(**parts) == (
        f'Pets, entry {entry} of {part} ("b.jpg"), has the label {label!r}: number the classes 0, 1, 2, ... with whole '
        "numbers."
    )


@pytest.mark.parametrize("name", ["", "  ", 7, 1.5, ["dog"], "caf\udce9"])
def test_names_that_are_none(name):
    assert refusal(train=[image(0), image(1, name, "b.jpg")]) == (
        f'Pets, entry 2 of train ("b.jpg"), has the class name {name!r}: give every class a name in words, as text.'
    )


@pytest.mark.parametrize("part", ["train", "val", "test"])
@pytest.mark.parametrize("other", ["bird", "Cat", "cat "])
def test_two_names_for_one_label(part, other):
    parts = {"train": [image(0), image(1)], "val": [], "test": None}
    parts[part] = [*(parts[part] or []), image(0, other, "b.jpg")]
    text = refusal(**parts)
    assert f'of {part} ("b.jpg"), names label 0 "{other}", which entry 1 of train names "cat": give' in text


def test_two_labels_for_one_name():
    images = [image(0), image(1), image(2, "cat")]
    assert refusal(train=images) == (
        'Pets has two labels for the class "cat", 0 in entry 1 of train and 2 in entry 3 of train: give every class '
        "one label, and every label a name of its own."
    )
    check_classes({"train": images}, "ImageNet", shared_names=True)
    with pytest.raises(ValueError, match="two labels"):
        DatasetBase(train_x=images)
    assert type("Net", (DatasetBase,), {"shared_names": True})(train_x=images).classnames == ["cat", "dog", "cat"]


@pytest.mark.parametrize("part", ["val", "test"])
def test_a_class_that_is_not_trained(part):
    parts = {"train": [image(0), image(1)], part: [image(1), image(2, path="b.jpg")]}
    assert refusal(**parts) == (
        f'Pets, entry 2 of {part} ("b.jpg"), is of class "ox" (label 2), of which train has no image: add some to '
        f"train, or remove the class from {part}."
    )


def test_the_first_part_defines_the_classes():
    check_classes({"test": [image(0), image(1)]}, "Pets")
    assert "entry 1 of test" in refusal(test=[image(1)])


# ---------------------------------------------------------------- warnings
SAME = [
    ("owl", "owl"),
    ("red circle", "red_circle"),
    ("red circle", "Red  Circle"),
    ("red circle", "red\tcircle "),
    ("crow's nest", "crow\u2019s nest"),
    ("\u201cx\u201d", '"x"'),
    ("\ufb01sh", "fish"),
    ("\uff26\uff49\uff53\uff48", "fish"),
    ("AT&amp;T", "AT&T"),
    ("caf&eacute;", "caf\u00e9"),
    ("caf\u00e9", "cafe\u0301"),
    ("cafÃ©", "café"),  # UTF-8 that was read as Latin-1
    ("a\u00a0b", "a b"),
    ("cat\x1b[0m", "cat"),
    ("cat<|endoftext|>a", "cat<|endoftext|>b"),
]


@pytest.mark.parametrize("name, other", SAME)
def test_names_that_clip_reads_alike(name, other, tiny_clip):
    """And its features are the same, where it does."""
    assert same_to_clip([name, "dog", other]) == [[name, other]]
    f = encode_prompts(tiny_clip(), ["a photo of a {}."], [name, other, "dog"])
    assert torch.equal(f[0], f[1]) and not torch.equal(f[0], f[2])


@given(
    st.lists(st.text("aA&_ \u00e9e\u0301\ufb01\uff41'\u2019;mp1\n.", min_size=1, max_size=5), min_size=2, unique=True)
)
def test_the_same_tokens_or_another_class(names):
    """Whatever the names are: alike are those whose prompts are."""
    prompts = [tuple(tokenize([f"a photo of a {words_of(name)}."])[0].tolist()) for name in names]
    alike = {frozenset(i for i, p in enumerate(prompts) if p == prompt) for prompt in prompts}
    expected = [[names[i] for i in sorted(group)] for group in sorted(alike, key=min) if len(group) > 1]
    assert same_to_clip(names) == expected


def test_they_are_named_in_one_line(capsys):
    names = ["Crane", "dog", "crane", "ox_cart", "ox cart"]
    DatasetBase(train_x=[image(y, name) for y, name in enumerate(names)])
    assert capsys.readouterr().out == (
        "Warning: DatasetBase has classes that CLIP reads alike, so that they have one prompt: "
        '"Crane" and "crane", "ox_cart" and "ox cart"\n'
    )
    DatasetBase(train_x=[image(y, name) for y, name in enumerate("aAbBcCdDeE")])
    assert capsys.readouterr().out.endswith('"a" and "A", "b" and "B", "c" and "C" and 2 more\n')


def test_images_in_train_and_test_are_named(capsys):
    train = [image(0, path="a.jpg"), image(1, path="b.jpg"), image(1, path="b.jpg"), image(1, path="c.jpg")]
    DatasetBase(train_x=train, test=train)  # a test set: on purpose
    DatasetBase(train_x=train, test=[image(0, path="d.jpg")])
    assert capsys.readouterr().out == ""
    DatasetBase(train_x=train, test=[image(0, path="d.jpg"), image(1, path="c.jpg"), image(1, path="b.jpg")])
    assert capsys.readouterr().out == (
        'Warning: DatasetBase has 2 of its training images among the test images, such as "b.jpg": the accuracy counts '
        "images that were trained on.\n"
    )
