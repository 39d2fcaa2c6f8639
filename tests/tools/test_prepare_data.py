"""What prepare_data says of the data sets that are there: list and check. Stub trees: see tests/datasets/stubs.py."""

import pytest

from dassl.utils import write_whole
from datasets.imagenet import ImageNet
from datasets.prepare.get import WORK
from datasets.prepare.state import loader_of
from datasets.split import SplitDataset
from tests.datasets.stubs import SPLITS, STEMS, folders_of, make, picture
from tests.tools.conftest import run
from tools.prepare_data import NAMES, Found

pytestmark = pytest.mark.usefixtures("stub_sizes")


def publish(monkeypatch, stem, parts):
    sizes = (len(parts["train"]), len(parts["val"]), len(parts["test"]))
    if stem.startswith("imagenet"):
        sizes = (sizes[0] if stem == "imagenet" else None, None, sizes[2])
    monkeypatch.setattr(loader_of(stem), "expected_classes", len({label for _, label, _ in parts["test"]}))
    monkeypatch.setattr(loader_of(stem), "expected_images", sizes)


def row(out, first):
    line = next(line for line in out.splitlines() if line.startswith(f"| {first} "))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_names_are_those_of_the_public_data_sets():
    assert sorted(NAMES) == sorted(STEMS)
    assert all(issubclass(loader_of(name), SplitDataset) for name in NAMES)


@pytest.mark.parametrize("stem", STEMS)
def test_a_complete_data_set(stem, tmp_path, monkeypatch, capsys):
    parts = make(stem, tmp_path)
    publish(monkeypatch, stem, parts)
    code, out, _ = run(capsys, "check", "--root", tmp_path)
    assert code == 0 and out.count("\n") == 4  # nothing but one row, and what the split is
    assert f"{SPLITS[stem][0]}: The split is another than CoOp's" in out if stem in SPLITS else "is built here" in out
    name = loader_of(stem).__name__
    images = len({path for items in parts.values() for path, _, _ in items})
    classes = len({label for _, label, _ in parts["test"]})
    cells = row(out, name)
    assert cells[1] == str(classes)
    trains = stem not in NAMES[-4:]
    assert cells[2] == (str(len(parts["train"])) if trains else "–")
    assert cells[3] == (str(len(parts["val"])) if stem in SPLITS or stem == "fgvc_aircraft" else "–")
    assert cells[4] == str(len(parts["test"]))
    assert cells[5:] == ["0", "0", str(min(images, 3 * classes)), "right"]
    _, out, _ = run(capsys, "list", "--root", tmp_path)
    assert row(out, stem)[1:3] == ["complete", ""] and out.count("| complete") == 1 and out.count("| absent") == 14


@pytest.mark.parametrize("stem", STEMS)
def test_a_file_or_folder_that_is_absent(stem, tmp_path, capsys):
    make(stem, tmp_path)
    folder = tmp_path / folders_of(stem)[0]
    for name in loader_of(stem).files():
        aside = (folder / name).rename(tmp_path / "aside")
        code, out, _ = run(capsys, "check", stem, "--root", tmp_path)
        assert code == 1 and f"\n{loader_of(stem).__name__}: no {name}.\n" in out
        _, out, _ = run(capsys, "list", "--root", tmp_path)
        assert row(out, stem)[1:3] == ["incomplete", f"no {name}"]
        aside.rename(folder / name)
    assert run(capsys, "check", stem, "--root", tmp_path)[0] == 0


@pytest.mark.parametrize("stem", [*SPLITS, "fgvc_aircraft"])
def test_images_that_are_missing(stem, tmp_path, capsys):
    parts = make(stem, tmp_path)
    gone = {parts["train"][0], parts["train"][-1], parts["test"][0]}
    for path, _, _ in gone:
        (tmp_path / path).unlink()
    code, out, _ = run(capsys, "check", "--root", tmp_path, "--sample", 100)
    assert code == 1
    everything = sum(len(items) for items in parts.values())
    assert row(out, loader_of(stem).__name__)[5:] == ["3", "0", str(everything - 3), "wrong"]
    assert out.count(f"\n{loader_of(stem).__name__}: no ") == 1 and "cannot" not in out and "does not exist" not in out
    for path, _, _ in gone:
        assert path.split("/", 1)[1] in out
    for label in {label for _, label, _ in gone}:
        names = {part: sum(y == label for _, y, _ in items) for part, items in parts.items()}
        lost = {part: sum(y == label and (p, y, c) in gone for p, y, c in items) for part, items in parts.items()}
        cells = [f"{names[p] - lost[p]} of {names[p]}" if lost[p] else str(names[p]) for p in ("train", "val", "test")]
        assert row(out, label)[2:] == cells
    assert "no " in row(run(capsys, "list", "--root", tmp_path)[1], stem)[2]


def test_every_class_on_request(tmp_path, capsys):
    make("caltech101", tmp_path)
    _, out, _ = run(capsys, "check", "caltech101", "--root", tmp_path, "--classes")
    assert row(out, 2) == ["2", "sea_horse", "6", "5", "3"]


@pytest.mark.parametrize("stem", STEMS)
def test_images_that_no_split_names(stem, tmp_path, capsys):
    make(stem, tmp_path)
    folder = tmp_path / folders_of(stem)[0]
    images = folder / folders_of(stem)[1]
    picture(images / "__extra__" / "1.jpg")
    picture(images / "__extra__" / "2.png")
    (images / "list.txt").write_text("no image")
    picture(images / ".hidden" / "3.jpg")
    picture(folder / WORK / "4.jpg")
    (images / "__again__").symlink_to(images)  # a loop
    picture(tmp_path / "elsewhere/5.jpg")
    (images / "__linked__").symlink_to(tmp_path / "elsewhere")
    code, out, _ = run(capsys, "check", stem, "--root", tmp_path)
    assert row(out, loader_of(stem).__name__)[6] == "3"
    assert code == 0


@pytest.mark.parametrize("stem", ["dtd", "imagenet_r"])
def test_damaged_images_are_named(stem, tmp_path, capsys):
    parts = make(stem, tmp_path)
    damaged = tmp_path / parts["test"][0][0]
    damaged.write_bytes(damaged.read_bytes()[:100])
    code, out, _ = run(capsys, "check", "--root", tmp_path, "--sample", 100)
    assert code == 1 and f'image "{damaged}" cannot be decoded' in out
    assert run(capsys, "check", "--root", tmp_path, "--sample", 0)[0] == 0


@pytest.mark.parametrize(("text", "said"), [("{", "is damaged"), ('{"train": []}', "not in CoOp's format")])
def test_a_damaged_split_file(text, said, tmp_path, capsys):
    make("ucf101", tmp_path)
    (tmp_path / "ucf101/split_zhou_UCF101.json").write_text(text)
    code, out, _ = run(capsys, "check", "--root", tmp_path)
    assert code == 1 and said in out and row(out, "UCF101")[1:5] == ["0", "–", "–", "–"]


def test_checking_writes_nothing_where_nothing_can_be_written(tmp_path, monkeypatch, capsys):
    data = tmp_path / "data"
    make("imagenet", data)
    monkeypatch.chdir(tmp_path)

    def read_only(*args, **kwargs):
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr("dassl.utils.files.open", read_only, raising=False)
        found = Found("imagenet", str(data))  # the list of images cannot be kept anywhere
        assert "cannot be written (Read-only file system)" in found.problem

    def in_data_only(path, *args, **kwargs):
        if str(path).startswith(str(data)):
            raise ValueError from OSError(30, "Read-only file system")
        write_whole(path, *args, **kwargs)

    monkeypatch.setattr("datasets.listing.write_whole", in_data_only)
    monkeypatch.setattr(ImageNet, "expected_classes", None)
    monkeypatch.setattr(ImageNet, "expected_images", (None, None, None))
    before = sorted(tmp_path.rglob("*"))
    assert run(capsys, "check", "--root", data)[0] == 0
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["dtd", "DTD", "DescribableTextures", "describable_textures"])
def test_the_names_that_a_data_set_goes_by(name, tmp_path, capsys):
    make("dtd", tmp_path)
    assert run(capsys, "check", name, "--root", tmp_path)[0] == 0


def test_an_unknown_name(tmp_path, capsys):
    code, out, err = run(capsys, "check", "caltec", "--root", tmp_path)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith('error: There is no data set "caltec"; the nearest are caltech101,')


def test_nothing_there(tmp_path, capsys):
    code, _, err = run(capsys, "check", "--root", tmp_path)
    assert code == 1 and err == (
        f"error: {tmp_path} holds none of the data sets: get one with tools/prepare_data.py get\n"
    )
    code, out, _ = run(capsys, "check", "dtd", "--root", tmp_path)
    assert code == 1 and f"DescribableTextures: {tmp_path}/dtd does not hold it." in out
    code, _, err = run(capsys, "list", "--root", tmp_path / "none")
    assert code == 1 and err.startswith(f"error: The data root {tmp_path}/none does not exist") and err.count("\n") == 1
    code, out, _ = run(capsys, "list", "--root", tmp_path)
    assert code == 0 and out.count("| absent") == 15
    assert row(out, "imagenet")[-1] == "by hand: DATASETS.md, ImageNet" and row(out, "food101")[-1] == "get food101"


def test_data_in_the_environment(tmp_path, monkeypatch, capsys):
    make("dtd", tmp_path / "data")
    monkeypatch.setenv("DATA", str(tmp_path / "data"))
    code, out, _ = run(capsys, "list")
    assert code == 0 and row(out, "dtd")[1] == "complete"
