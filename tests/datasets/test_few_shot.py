import json
import os
import random
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import datasets.few_shot
from dassl.data.datasets import DatasetBase
from datasets.few_shot import data_root, draw_few_shot, read_split, subsample_classes
from tests.conftest import GOLDEN

EXPECTED = json.loads((GOLDEN / "fewshot_expected.json").read_text())
RECORD = "split_fewshot/shot_4-seed_1.json"


class Item(SimpleNamespace):
    """A Datum without a file."""

    def __init__(self, impath, label=0, domain=0, classname=""):
        super().__init__(impath=impath, label=label, domain=domain, classname=classname)


class Drawer(DatasetBase):
    """Only what draw_few_shot uses of a data set."""

    def __init__(self):
        pass


@pytest.fixture(autouse=True)
def items_without_files(monkeypatch):
    monkeypatch.setattr(datasets.few_shot, "Datum", Item)


def config(shots, seed, output="unused", resume=""):
    dataset = SimpleNamespace(NUM_SHOTS=shots)
    return SimpleNamespace(DATASET=dataset, SEED=seed, OUTPUT_DIR=str(output), RESUME=str(resume))


def draw(root, shots=4, seed=1, split=None, output="unused"):
    train, val, _ = split or read_split(GOLDEN / "fewshot_split.json", str(root))
    drawer = Drawer()
    drawn = draw_few_shot(drawer, train, val, config(shots, seed, output), str(root))
    drawer.keep_sample()
    return drawn


def entries(items, root):
    return [[os.path.relpath(i.impath, root), i.label] for i in items]


def test_the_data_root(tmp_path):
    for root, error, said in (
        (tmp_path / "none", FileNotFoundError, f"data root {tmp_path}/none does not exist: .* --root"),
        ("", ValueError, "No data root is given: .* --root"),
    ):
        with pytest.raises(error, match=said):
            data_root(SimpleNamespace(DATASET=SimpleNamespace(ROOT=str(root))))


@pytest.mark.parametrize("case", EXPECTED)
@pytest.mark.parametrize("kept_before", [False, True])
def test_samples_are_those_of_coops_loaders(case, kept_before, tmp_path):
    seed, shots, subsample = case.split("-")
    seed, shots = int(seed[len("seed") :]), int(shots[len("shots") :])
    split = read_split(GOLDEN / "fewshot_split.json", str(tmp_path))
    if kept_before:
        draw(tmp_path, shots, seed)
    random.seed(99)  # whatever was drawn before

    train, val = draw(tmp_path, shots, seed)
    train, val, test = subsample_classes(train, val, split[2], subsample=subsample)

    expected = EXPECTED[case]
    assert entries(train, tmp_path) == expected["train"]
    assert entries(val, tmp_path) == expected["val"]
    assert len(test) == expected["test"]
    assert DatasetBase.get_lab2cname(train)[1] == expected["classnames"]


def test_the_sample_is_kept_with_relative_paths(tmp_path):
    train, val = draw(tmp_path)
    record = json.loads((tmp_path / RECORD).read_text())
    assert record["train"] == [[os.path.relpath(i.impath, tmp_path), i.label, i.classname] for i in train]
    assert len(record["val"]) == len(val)
    assert os.listdir(tmp_path / "split_fewshot") == ["shot_4-seed_1.json"]  # no temporary file


def damage(path, record):
    path.write_text(path.read_text()[:500])


def binary(path, record):
    path.write_bytes(b"\x80\x04\x95")  # a pickle


def swap_an_image(path, record):
    record["train"][0][0] = "accordion/image_0099.jpg"
    path.write_text(json.dumps(record))


def drop_an_image(path, record):
    record["val"].pop()
    path.write_text(json.dumps(record))


def other_json(path, record):
    path.write_text("[1, 2]")


@pytest.mark.parametrize("change", [damage, binary, swap_an_image, drop_an_image, other_json])
def test_a_wrong_record_is_reported_and_replaced(change, tmp_path, capsys):
    fresh = entries(draw(tmp_path)[0], tmp_path)
    path = tmp_path / RECORD
    good = path.read_text()
    change(path, json.loads(good))
    capsys.readouterr()

    assert entries(draw(tmp_path)[0], tmp_path) == fresh
    assert f"few-shot sample in {path}" in capsys.readouterr().out
    assert path.read_text() == good

    draw(tmp_path)
    assert "few-shot sample in" not in capsys.readouterr().out


# ---- without a seed ----------------------------------------------------------------------------------------


def draw_in(output, shots=2, **options):
    train, val = draw("data", shots, seed=-1, output=output, **options)
    return entries(train, "data"), val and entries(val, "data")


def test_without_a_seed_a_run_keeps_its_sample_and_others_draw_their_own(tmp_path):
    random.seed(5)
    first = draw_in(tmp_path / "a")
    assert draw_in(tmp_path / "b") != first
    random.seed(6)
    assert draw_in(tmp_path / "a") == first
    assert os.listdir(tmp_path / "a") == ["few_shot.json"]
    random.seed(5)
    assert draw_in(tmp_path / "c") == first  # Python's generator as it is


def test_a_run_that_goes_on_in_another_folder_keeps_its_sample(tmp_path):
    first = draw_in(tmp_path / "a")
    split = read_split(GOLDEN / "fewshot_split.json", "data")
    for resume in (tmp_path / "a", ""):  # the second time, it is in the folder
        train, _ = draw_few_shot(Drawer(), *split[:2], config(2, -1, tmp_path / "b", resume), "data")
        assert entries(train, "data") == first[0]


def test_the_sample_of_a_run_is_of_its_data_set_wherever_that_lies(tmp_path):
    first = draw_in(tmp_path)
    split = read_split(GOLDEN / "fewshot_split.json", str(tmp_path / "moved"))
    train, val = draw_few_shot(Drawer(), *split[:2], config(2, -1, tmp_path), str(tmp_path / "moved"))
    assert (entries(train, tmp_path / "moved"), entries(val, tmp_path / "moved")) == first


def test_without_a_seed_and_without_val(tmp_path):
    train, _, test = read_split(GOLDEN / "fewshot_split.json", "data")
    first = draw_in(tmp_path, split=(train, None, test))
    assert first[1] is None and draw_in(tmp_path, split=(train, None, test)) == first


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record["train"].pop(),
        lambda record: record["val"].append(record["val"][0]),
        lambda record: record["train"][0].__setitem__(0, "accordion/none.jpg"),
        lambda record: record["train"][0].__setitem__(1, 7),
        lambda record: record["train"].__setitem__(0, record["train"][1]),
        lambda record: record["train"].__setitem__(0, 3),
        lambda record: record.pop("val"),
        lambda record: record.pop("shots"),
    ],
)
def test_a_sample_that_does_not_fit_the_split_is_refused(change, tmp_path):
    draw_in(tmp_path)
    path = tmp_path / "few_shot.json"
    record = json.loads(path.read_text())
    change(record)
    for text in (json.dumps(record), path.read_text()[:300]):
        path.write_text(text)
        with pytest.raises(
            ValueError, match=f"few-shot sample in {path} is damaged, or not one of data: pass"
        ) as error:
            draw_in(tmp_path)
        assert "\n" not in str(error.value) and path.read_text() == text


def test_file_names_that_are_not_text(tmp_path):
    """The bytes of a name that is not UTF-8 survive both records."""
    name = os.fsdecode(b"caf\xe9")
    items = [Item(os.path.join("data", f"{name}{i}.jpg"), i % 2, classname="ab"[i % 2]) for i in range(8)]
    for seed in (-1, 1):
        first, again = (draw(tmp_path / "data", 2, seed, (items, None, None), tmp_path) for _ in range(2))
        assert again == first
    record = json.loads((tmp_path / "data" / "split_fewshot/shot_2-seed_1.json").read_text())
    assert all(name in path for path, _, _ in record["train"])


def test_all_images_without_shots(tmp_path):
    split = read_split(GOLDEN / "fewshot_split.json", str(tmp_path))
    assert draw(tmp_path, shots=-1, split=split) == (split[0], split[1])
    assert not os.listdir(tmp_path)


def test_a_data_set_without_val(tmp_path):
    train, _, test = read_split(GOLDEN / "fewshot_split.json", str(tmp_path))
    drawn, val = draw(tmp_path, split=(train, None, test))
    assert val is None
    assert entries(drawn, tmp_path) == EXPECTED["seed1-shots4-all"]["train"]
    assert subsample_classes(drawn, None, subsample="new")[1] is None


@given(seed=st.integers(0, 2**32), shots=st.integers(1, 20), before=st.integers(0, 100))
def test_drawing_leaves_the_global_generator_alone(tmp_path_factory, seed, shots, before):
    root = tmp_path_factory.getbasetemp() / "generator"
    random.seed(before)
    state = random.getstate()
    train, val = draw(root, shots, seed)
    assert random.getstate() == state
    for items, limit in ((train, shots), (val, min(shots, 4))):
        counts = [sum(i.label == label for i in items) for label in range(13)]
        assert all(1 <= n <= limit for n in counts)
        assert len({i.impath for i in items}) == len(items)


@given(st.lists(st.integers(0, 50), min_size=2).filter(lambda labels: len(set(labels)) > 1))
def test_halves(draws):
    labels = [sorted(set(draws)).index(y) for y in draws]
    items = [Item(f"{i}.jpg", y, domain=i % 3, classname=f"class {y}") for i, y in enumerate(labels)]
    n = len(set(labels))
    base, other = subsample_classes(items, items[:1], subsample="base")
    new, _ = subsample_classes(items, items[:1], subsample="new")

    assert {i.label for i in base} == set(range((n + 1) // 2))
    assert {i.label for i in new} == set(range(n // 2))
    old = sorted(set(labels))
    for item in base:
        assert item.classname == f"class {old[item.label]}"
    for item in new:
        assert item.classname == f"class {old[item.label + (n + 1) // 2]}"
    assert sorted(i.impath for i in base + new) == sorted(i.impath for i in items)
    assert [(i.impath, i.domain) for i in base] == [
        (i.impath, i.domain) for i in items if i.label < old[(n + 1) // 2 - 1] + 1
    ]
    assert len(other) == (items[0].label in old[: (n + 1) // 2])
    assert subsample_classes(items, None) == [items, None]


def test_refused_subsamples():
    items = [Item("a.jpg", classname="cat")]
    with pytest.raises(ValueError, match='SUBSAMPLE_CLASSES is "bases": choose one of all, base, new'):
        subsample_classes(items, subsample="bases")
    with pytest.raises(ValueError, match="only 1 class"):
        subsample_classes(items, subsample="new")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"train": []}',
        '{"train": [["a.jpg", 0]]}',
        '{"train": [[1, "x", 2]]}',
    ],
)
def test_a_damaged_split_file_is_named(text, tmp_path):
    path = tmp_path / "split.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"split\.json is damaged or not in CoOp's format"):
        read_split(str(path), "images")


def test_a_missing_split_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.json does not exist: DATASETS.md says"):
        read_split(str(tmp_path / "nowhere.json"), "images")


GOOD = {
    "train": [["a.jpg", 0, "cat"], ["b.jpg", 1, "dog"]],
    "val": [["c.jpg", 0, "cat"]],
    "test": [["d.jpg", 1, "dog"]],
}


@pytest.mark.parametrize(
    ("part", "entry", "said"),
    [
        ("train", ["e.jpg", 1.5, "ox"], "entry 3 of train .*has the label 1.5: number the classes"),
        ("train", ["e.jpg", 3, "ox"], "entry 3 of train .*has the label 3, but 3 classes have labels 0 to 2"),
        ("val", ["e.jpg", 1, "ox"], 'entry 2 of val .*names label 1 "ox", which entry 2 of train names "dog"'),
        ("test", ["e.jpg", 2, "ox"], 'entry 2 of test .*is of class "ox" \\(label 2\\), of which train has no image'),
    ],
)
def test_labels_of_a_split_file_that_mean_nothing(part, entry, said, tmp_path):
    """They are refused with file and entry before halves renumber the labels; test_classes.py has all kinds."""
    path = tmp_path / "split.json"
    path.write_text(json.dumps({**GOOD, part: [*GOOD[part], entry]}))
    with pytest.raises(ValueError, match=f"^The split file {path}.*{said}"):
        read_split(str(path), "images")
    path.write_text(json.dumps(GOOD))
    assert [len(items) for items in read_split(str(path), "images")] == [2, 1, 1]
