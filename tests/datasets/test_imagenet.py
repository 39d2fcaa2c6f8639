"""What ImageNet and its variants do beyond test_public.py: the list of files, and trees that are wrong."""

import json
import os
import shutil

import pytest

import datasets.imagenet
from dassl.data.datasets import build_dataset
from datasets.listing import CACHE, SETTLED_NS, list_classes
from tests.datasets.stubs import CLASSNAMES, VARIANTS, WNIDS, config, entries, make, picture


@pytest.fixture
def tree(tmp_path):
    """A data root with ImageNet's stub, unchanged for an hour."""
    make("imagenet", tmp_path)
    age(tmp_path)
    return tmp_path


def age(root):
    """Make every folder look unchanged for an hour."""
    for folder in (root / "imagenet/images").glob("*/*"):
        ns = folder.stat().st_mtime_ns - 3600 * 10**9
        os.utime(folder, ns=(ns, ns))


def load(root, *pairs):
    dataset = build_dataset(config("imagenet", root, *pairs))
    return entries(dataset.train_x, root), entries(dataset.test, root)


@pytest.fixture
def listed(monkeypatch):
    """Names of the class folders that are read, as they are."""
    names, listdir = [], os.listdir

    def spy(path="."):
        names.append(os.path.basename(path))
        return listdir(path)

    monkeypatch.setattr(os, "listdir", spy)
    return names


def test_the_list_of_files_is_kept_and_used(tree, listed):
    first = load(tree)
    assert sorted(listed) == sorted(WNIDS[:5] * 2)
    kept = json.loads((tree / "imagenet" / CACHE).read_text())
    assert kept["val"][WNIDS[0]][1] == ["0.JPEG", "1.JPEG", "2.JPEG"]
    listed.clear()
    assert load(tree) == first
    assert listed == []


def test_only_folders_that_changed_are_read_again(tree, listed):
    load(tree)
    picture(tree / "imagenet/images/train" / WNIDS[3] / "new.JPEG")
    (tree / "imagenet/images/val" / WNIDS[1] / "0.JPEG").unlink()
    listed.clear()
    train, test = load(tree)
    assert sorted(listed) == [WNIDS[1], WNIDS[3]]
    assert (f"imagenet/images/train/{WNIDS[3]}/new.JPEG", 3, CLASSNAMES[3]) in train
    assert len(train) == 31 and len(test) == 14


def test_classes_that_come_and_go(tree):
    load(tree)
    for part in ("train", "val"):
        shutil.rmtree(tree / "imagenet/images" / part / WNIDS[0])
        picture(tree / "imagenet/images" / part / WNIDS[7] / "0.JPEG")
    train, test = load(tree)
    assert {(label, name) for _, label, name in test} == set(enumerate(CLASSNAMES[1:5] + CLASSNAMES[7:8]))
    assert {label for _, label, _ in train} == set(range(5))


def test_a_folder_that_changed_just_now_is_not_trusted(tree, listed, monkeypatch):
    folder = tree / "imagenet/images/train" / WNIDS[0]
    now = folder.stat().st_mtime_ns + SETTLED_NS  # as if it had changed two seconds ago, no longer
    monkeypatch.setattr("time.time_ns", lambda: now)
    load(tree)
    listed.clear()
    load(tree)
    assert listed.count(WNIDS[0]) == 2  # in train and in val, which are equally old


@pytest.mark.parametrize("text", ["", "[]", "{", '{"train": 1}', '{"train": {"a": [1]}}', '{"train": {"a": [1, 2]}}'])
def test_a_damaged_list_is_made_again(tree, text, capsys):
    first = load(tree)
    path = tree / "imagenet" / CACHE
    good = path.read_text()
    path.write_text(text)
    assert load(tree) == first
    assert f"The list of images in {path} is damaged" in capsys.readouterr().out
    assert path.read_text() == good


def test_making_the_list_looks_at_no_file(tree, monkeypatch):
    """1.28 million looks would take minutes on a network disk."""
    isfile, looked = os.path.isfile, []
    monkeypatch.setattr(os.path, "isfile", lambda path: looked.append(path) or isfile(path))
    load(tree, "DATASET.SUBSAMPLE_CLASSES", "base")
    assert not [path for path in looked if "JPEG" in str(path)]


def test_only_images_are_listed(tmp_path):
    (tmp_path / "class").mkdir()
    for name in ("b.JPEG", "a.png", "notes.txt", ".hidden.jpg", "jpg"):
        (tmp_path / "class" / name).write_text("")
    (tmp_path / "README.txt").write_text("")
    (tmp_path / ".git").mkdir()
    assert {name: images for name, (_, images) in list_classes(tmp_path).items()} == {"class": ["a.png", "b.JPEG"]}


@pytest.mark.parametrize("stem", ["imagenet", *VARIANTS])
def test_choosing_the_model_on_the_test_set_is_warned_about(stem, tmp_path, capsys):
    make(stem, tmp_path)
    build_dataset(config(stem, tmp_path))
    assert "best_val" not in capsys.readouterr().out
    name = type(build_dataset(config(stem, tmp_path, "TEST.FINAL_MODEL", "best_val"))).__name__
    warnings = [line for line in capsys.readouterr().out.splitlines() if "best_val" in line]
    assert len(warnings) == 1 and warnings[0].startswith(f"Warning: {name} has no validation images beside its test")
    assert "TEST.FINAL_MODEL best_val chooses the model on the test set: use last_step" in warnings[0]


def test_validation_images_in_one_heap(tree):
    shutil.rmtree(tree / "imagenet/images/val")
    picture(tree / "imagenet/images/val/ILSVRC2012_val_00000001.JPEG")
    with pytest.raises(ValueError, match="images/val holds no class folder .*sort its images into"):
        load(tree)


def test_classes_in_one_part_only(tree):
    shutil.rmtree(tree / "imagenet/images/val" / WNIDS[2])
    with pytest.raises(ValueError, match=f"1 classes only in train or only in val \\({WNIDS[2]}\\)"):
        load(tree)


def test_a_class_without_images(tree):
    for path in (tree / "imagenet/images/train" / WNIDS[2]).iterdir():
        path.unlink()
    with pytest.raises(ValueError, match=f"train/{WNIDS[2]} holds no image"):
        load(tree)


def read_classnames(tmp_path, content):
    path = tmp_path / "classnames.txt"
    path.write_bytes(content)
    return list(datasets.imagenet.read_classnames(path).items())


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("gap", [b" ", b"\t", b" \t ", "\u00a0".encode(), "\u3000".encode()])
def test_class_names(tmp_path, bom, end, gap):
    content = bom + b"n02" + gap + b"great white shark" + end + end + gap + b"n01" + gap + b"tench" + gap
    assert read_classnames(tmp_path, content) == [("n01", "tench"), ("n02", "great white shark")]


@pytest.mark.parametrize(
    "line, said",
    [
        ("n03", "has no class name"),
        ("{0: 'tench, Tinca tinca',", 'is "{0: .tench, Tinca tinca.,", of a Python dictionary or JSON'),
        ('"n03": "goldfish",', "of a Python dictionary or JSON"),
        ("n03,goldfish", 'is "n03,goldfish", of another list'),
        ("n03: goldfish", "of another list"),
        ("goldfish", "of another list"),
        ("n03 goldfish, Carassius auratus", "has .goldfish, Carassius auratus. for a name, as another list"),
        ("n03 2 goldfish", "has .2 goldfish. for a name"),
        ("n03 'goldfish'", "for a name"),
        ("n01 goldfish", "names n01, as line 1 does"),
        ("n03 caf\xe9", "is no UTF-8 .byte 0xe9.: save it again"),
    ],
)
def test_lines_of_another_form_are_named(tmp_path, line, said):
    with pytest.raises(ValueError, match=rf"classnames\.txt, line 3, .*{said}"):
        read_classnames(tmp_path, f"n01 tench\r\n\r\n{line}\r\n".encode("latin-1"))


@pytest.mark.parametrize("stem", ["imagenet_a", "imagenetv2"])
def test_shots_do_not_thin_out_a_variant(stem, tmp_path):
    parts = make(stem, tmp_path)
    dataset = build_dataset(config(stem, tmp_path, "DATASET.NUM_SHOTS", 1))
    assert entries(dataset.train_x, tmp_path) == entries(dataset.test, tmp_path) == parts["test"]


@pytest.mark.parametrize("stem", ["imagenet", *VARIANTS])
def test_two_classes_may_have_one_name(stem, tmp_path, capsys):
    """CLIP's names for ImageNet have "missile" and "sunglasses" twice; labels come from the folders, not from names."""
    make(stem, tmp_path)
    for path in tmp_path.glob("*/classnames.txt"):
        lines = sorted(path.read_text().splitlines())
        path.write_text("\n".join(f"{line.split()[0]} sunglasses" if i < 8 else line for i, line in enumerate(lines)))
    dataset = build_dataset(config(stem, tmp_path))
    assert dataset.classnames.count("sunglasses") > 1 and len(dataset.classnames) == dataset.num_classes
    assert 'CLIP reads alike, so that they have one prompt: "sunglasses" and "sunglasses"' in capsys.readouterr().out


@pytest.mark.parametrize("change", ["gap", "more", "none"])
def test_numbered_folders_that_do_not_fit(change, tmp_path):
    make("imagenetv2", tmp_path)
    folder = tmp_path / "imagenetv2/imagenetv2-matched-frequency-format-val"
    if change == "gap":
        shutil.rmtree(folder / "5")
    elif change == "more":
        picture(folder / "12" / "0.jpeg")
    else:
        shutil.rmtree(folder)
        folder.mkdir()
    with pytest.raises(ValueError, match="folders numbered from 0 to 11 without a gap"):
        build_dataset(config("imagenetv2", tmp_path))
