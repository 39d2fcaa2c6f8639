"""Every public data set on a stub tree with its real layout (see stubs.py)."""

import os
import random
import re
from collections import defaultdict

import pytest

from dassl.data.data_manager import DatasetWrapper
from dassl.data.datasets import DATASET_REGISTRY, build_dataset
from tests.conftest import REPOSITORY
from tests.datasets.stubs import SAMPLED, SPLITS, STEMS, config, entries, folders_of, make, picture


def drawn(items, shots):
    """CoOp's sample: per label in first-seen order, from Python's generator as it is."""
    by_label = defaultdict(list)
    for item in items:
        by_label[item[1]].append(item)
    return [x for group in by_label.values() for x in random.sample(group, min(shots, len(group)))]


@pytest.mark.parametrize("stem", STEMS)
def test_images_labels_and_names(stem, tmp_path):
    parts = make(stem, tmp_path)
    dataset = build_dataset(config(stem, tmp_path))
    assert entries(dataset.train_x, tmp_path) == parts["train"]
    assert entries(dataset.test, tmp_path) == parts["test"]
    assert entries(dataset.val, tmp_path) == (parts["val"] or parts["test"])  # ImageNet and its variants have none
    names = {label: name for _, label, name in parts["test"]}
    assert dataset.classnames == [names[y] for y in range(len(names))]


@pytest.mark.parametrize("stem", SAMPLED)
@pytest.mark.parametrize("half", ["base", "new"])
def test_samples_and_halves_are_those_of_coops_loaders(stem, half, tmp_path):
    parts = make(stem, tmp_path)
    dataset = build_dataset(config(stem, tmp_path, "DATASET.NUM_SHOTS", 5, "DATASET.SUBSAMPLE_CLASSES", half))

    random.seed(1)
    parts["train"] = drawn(parts["train"], 5)
    if stem != "imagenet":
        parts["val"] = drawn(parts["val"], 4)
    n = len({label for _, label, _ in parts["test"]})
    labels = range(n)[: (n + 1) // 2] if half == "base" else range(n)[(n + 1) // 2 :]
    for items, part in ((dataset.train_x, "train"), (dataset.val, "val"), (dataset.test, "test")):
        assert entries(items, tmp_path) == [(p, y - labels[0], name) for p, y, name in parts[part] if y in labels]


@pytest.mark.parametrize("stem", STEMS)
def test_every_missing_file_is_an_error_that_says_how_to_get_it(stem, tmp_path):
    make(stem, tmp_path)
    folder = tmp_path / folders_of(stem)[0]
    needed = sorted(p for p in folder.iterdir())
    if stem == "imagenet":
        needed = [folder / "classnames.txt", folder / "images" / "train", folder / "images" / "val"]
    lines = (REPOSITORY / "DATASETS.md").read_text().splitlines()
    for path in needed:
        aside = path.rename(tmp_path / "aside")
        with pytest.raises(FileNotFoundError) as error:
            build_dataset(config(stem, tmp_path))
        message = str(error.value)
        assert f"needs {path}, which does not exist" in message and "\n" not in message
        assert "https://" in message or "http://" in message or "`$DATA/imagenet/`" in message
        number = int(message.split("(DATASETS.md, line ")[1].split(")")[0])
        step = " ".join(lines[number - 1 : number + 4])
        assert f"`{path.name}" in step or f"/{path.name}/`" in step
        assert not path.exists()  # a split file is never made up
        aside.rename(path)
    build_dataset(config(stem, tmp_path))


@pytest.mark.parametrize("stem", STEMS)
def test_sizes_that_differ_are_named(stem, tmp_path, monkeypatch, capsys):
    parts = make(stem, tmp_path)
    loader = DATASET_REGISTRY.get(config(stem, tmp_path).DATASET.NAME)
    published = dict(zip(("train", "val", "test"), loader.expected_images))
    build_dataset(config(stem, tmp_path, "DATASET.NUM_SHOTS", 1))
    warning = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("Warning: "))
    classes = len({label for _, label, _ in parts["test"]})
    assert f"{classes} classes instead of {loader.expected_classes:,}" in warning
    for part, n in published.items():
        assert (f"{len(parts[part])} {part} images instead of {n or 0:,}" in warning) == bool(n)

    monkeypatch.setattr(loader, "expected_classes", classes)
    monkeypatch.setattr(loader, "expected_images", tuple(n and len(parts[p]) for p, n in published.items()))
    build_dataset(config(stem, tmp_path, "DATASET.NUM_SHOTS", 1, "DATASET.SUBSAMPLE_CLASSES", "all"))
    assert "Warning" not in capsys.readouterr().out


def test_sizes_are_those_of_the_guide():
    guide = (REPOSITORY / "DATASETS.md").read_text()
    for stem in STEMS:
        name = config(stem, "").DATASET.NAME
        loader = DATASET_REGISTRY.get(name)
        images = " / ".join(f"{n:,}" if n else "–" for n in loader.expected_images)
        assert f"| `{stem}` | [{name}](#{name.lower()}) | {loader.expected_classes:,} | {images} |" in guide


@pytest.mark.parametrize("stem", STEMS)
def test_home_links_and_what_does_not_belong(stem, tmp_path, monkeypatch):
    real, home = tmp_path / "real", tmp_path / "home"
    parts = make(stem, real)
    folder, images = folders_of(stem)
    (home / "sets" / folder).parent.mkdir(parents=True)
    (home / "sets" / folder).symlink_to(real / folder)
    linked = (
        real / folder / images / next(iter(parts["train"]))[0].split("/")[-2]
    )  # a class folder, where there are any
    if linked.is_dir():
        linked.rename(tmp_path / "elsewhere")
        linked.symlink_to(tmp_path / "elsewhere")
        (linked / ".hidden.jpg").write_text("")
    for extra in (real / folder / images / "__extra__", real / folder / "extra"):
        picture(extra / "extra.jpg")
    (real / folder / images / "README.txt").write_text("what this is")
    monkeypatch.setenv("HOME", str(home))

    dataset = build_dataset(config(stem, "~/sets", "OUTPUT_DIR", str(tmp_path / "output")))
    assert entries(dataset.train_x, home / "sets") == parts["train"]
    assert entries(dataset.test, home / "sets") == parts["test"]


@pytest.mark.parametrize("stem", STEMS)
def test_a_read_only_data_root(stem, tmp_path, monkeypatch):
    data = tmp_path / "data"
    parts = make(stem, data)
    before = sorted(data.rglob("*"))
    makedirs = os.makedirs

    def read_only(path, **kwargs):  # not chmod: it does not stop root
        if str(path).startswith(f"{data}/"):
            raise OSError(30, "Read-only file system")
        makedirs(path, **kwargs)

    monkeypatch.setattr(os, "makedirs", read_only)
    for _ in range(2):
        dataset = build_dataset(config(stem, data, "DATASET.NUM_SHOTS", 2))
        dataset.keep_sample()
        assert entries(dataset.test, data) == parts["test"]
    assert sorted(data.rglob("*")) == before
    kept = {path.name for path in (tmp_path / "data-output").rglob("*.json")}
    expected = {"shot_2-seed_1.json"} if stem in SAMPLED else set()  # nothing is drawn from a variant
    assert kept == expected | ({"image_list.json"} if stem == "imagenet" else set())


@pytest.mark.parametrize("stem", STEMS)
def test_images_that_are_missing_or_damaged_are_named(stem, tmp_path):
    parts = make(stem, tmp_path)
    damaged, missing = (tmp_path / parts["test"][i][0] for i in (0, 1))
    damaged.write_bytes(damaged.read_bytes()[:100])
    dataset = build_dataset(config(stem, tmp_path))
    reader = DatasetWrapper(config(stem, tmp_path), dataset.test)
    with pytest.raises(ValueError, match=f"{damaged}.*cannot be decoded"):
        reader[0]
    missing.unlink()
    with pytest.raises(FileNotFoundError, match=str(missing)):
        reader[1]
    assert reader[2]["impath"] == str(tmp_path / parts["test"][2][0])


@pytest.mark.parametrize("stem", [*SPLITS, "fgvc_aircraft"])
@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_an_image_of_the_split_that_is_missing_is_named(part, stem, tmp_path):
    path = tmp_path / make(stem, tmp_path)[part][-1][0]
    path.unlink()
    with pytest.raises(FileNotFoundError, match=re.escape(str(path))):
        build_dataset(config(stem, tmp_path))


def test_an_aircraft_variant_that_is_not_listed(tmp_path):
    make("fgvc_aircraft", tmp_path)
    (tmp_path / "fgvc_aircraft" / "variants.txt").write_text("707-320\nA300B4\n")
    with pytest.raises(ValueError, match=r'images_variant_train\.txt, line 1, names the variant "Boeing 717"'):
        build_dataset(config("fgvc_aircraft", tmp_path))
