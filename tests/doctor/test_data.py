"""Data sets that are another's, damaged, or not there. Stub trees: see tests/datasets/stubs.py."""

import json
import shutil
from types import SimpleNamespace

import pytest
from PIL import Image

from datasets import published
from doctor import data as doctor_data
from doctor.findings import FAULT, NOTE, OK
from harness.catalogue import own_datasets
from tests.datasets.prepare.web import stub_sizes  # noqa: F401  fixture
from tests.datasets.stubs import STEMS, config, make

pytestmark = pytest.mark.usefixtures("stub_sizes")
SPLIT = "caltech-101/split_zhou_Caltech101.json"


def look(root, *names):
    findings = [f for one in doctor_data.find(names, str(root)) for f in doctor_data.data(one, str(root))]
    assert all(isinstance(f.text, str) and f.text for f in findings)
    return findings


@pytest.fixture
def caltech(tmp_path, monkeypatch):
    """A data root with a stub of Caltech101, whose split file and samples are the published ones."""
    make("caltech101", tmp_path)
    blob, digests = published.git_blob_id(tmp_path / SPLIT), {}
    monkeypatch.setattr(published, "step_for", lambda *what: SimpleNamespace(blob=blob))
    monkeypatch.setattr(published, "_samples", lambda: {"Caltech101": digests})
    from dassl.data.datasets import build_dataset

    for seed in doctor_data.SEEDS:
        drawn = build_dataset(config("caltech101", tmp_path, "DATASET.NUM_SHOTS", 16, "SEED", seed))
        folder = str(tmp_path / "caltech-101")
        digests[f"16-{seed}"] = [published.sample_digest(part, folder) for part in (drawn.train_x, drawn.val)]
    return tmp_path


def test_a_data_set_that_is_right(caltech):
    (finding,) = look(caltech)
    assert finding.level == OK and finding.check == "data, caltech101"
    assert finding.text == (
        "3 classes, 18 / 15 / 9 images, CoOp's own split, samples of seeds 1 to 3 as published, 10 pictures decode"
    )
    assert look(caltech, "Caltech-101") == [finding]


def test_another_split_file(caltech):
    split = json.loads((caltech / SPLIT).read_text())
    (caltech / SPLIT).write_text(json.dumps(split, indent=1))
    (finding,) = look(caltech)
    assert finding.level == FAULT and finding.text.startswith("the split is another than CoOp's")
    assert finding.remedy.startswith("move it away, then python tools/prepare_data.py get caltech101 --root")


def test_another_sample(caltech, monkeypatch):
    known = {**published._samples()["Caltech101"], "16-2": ["0" * 16, "1" * 16]}
    monkeypatch.setattr(published, "_samples", lambda: {"Caltech101": known})
    (finding,) = look(caltech)
    assert finding.level == FAULT and "few-shot sample of seed 2 is another than the published one" in finding.text


def test_pictures_that_are_missing_or_damaged(caltech):
    folder = caltech / "caltech-101" / "101_ObjectCategories"
    (folder / "ant" / "tr0.jpg").unlink()
    for path in folder.glob("face/*.jpg"):
        path.write_bytes(path.read_bytes()[:-50])
    missing, *damaged = look(caltech)
    assert missing.level == FAULT and missing.text == "no 101_ObjectCategories/ant/tr0.jpg"
    assert missing.remedy == f"python tools/prepare_data.py get caltech101 --root {caltech}"
    assert damaged and all(f.level == FAULT and "cannot be decoded" in f.text for f in damaged)


def test_what_is_not_there(caltech):
    (finding,) = look(caltech, "dtd")
    assert finding.level == FAULT and "does not hold it" in finding.text and "get dtd" in finding.remedy
    (caltech / SPLIT).unlink()
    (finding,) = look(caltech)
    assert finding.level == FAULT and finding.text == "no split_zhou_Caltech101.json" and finding.remedy
    assert look(caltech / "nothing") == []
    (finding,) = look(caltech, "shapes")
    assert finding.level == NOTE and finding.remedy == "the first run draws it"
    with pytest.raises(ValueError, match='no data set "caltch"; the nearest are caltech101'):
        look(caltech, "caltch")


def test_names_that_clip_reads_alike(tmp_path, monkeypatch):
    make("eurosat", tmp_path)
    split = tmp_path / "eurosat" / "split_zhou_EuroSAT.json"
    split.write_text(split.read_text().replace("Sea or Lake", "forest"))
    finding = look(tmp_path)[-1]
    assert finding.level == NOTE and '"Forest"' in finding.text and '"forest"' in finding.text


@pytest.mark.parametrize("stem", STEMS)
def test_every_public_data_set(stem, tmp_path):
    """Of those that have a split file, stubs have another one."""
    make(stem, tmp_path)
    findings = look(tmp_path)
    assert findings and all(f.check == f"data, {stem}" for f in findings)
    assert all(f.level == OK or "is another than" in f.text for f in findings), findings


def test_data_sets_outside_the_checkout(tmp_path, monkeypatch):
    for folder in ("train/red square", "train/disk", "test/red square", "test/disk"):
        (tmp_path / "own" / folder).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(tmp_path / "own" / folder / "1.png")
    (tmp_path / "own/dataset.yaml").write_text("name: own\ntemplate: a scan of {}\n")
    shutil.copytree(tmp_path / "own", tmp_path / "shift")
    (tmp_path / "shift/dataset.yaml").write_text("name: shift\nshift_of: own\n")
    monkeypatch.setattr(doctor_data, "OWN_DATASETS", own_datasets(f"{tmp_path}/own:{tmp_path}/shift"))
    first, second = look(tmp_path / "nowhere")
    assert (first.level, first.check, first.text) == (OK, "data, own", "2 classes, 2 / – / 2 images, 4 pictures decode")
    assert second.text == "2 classes, – / – / 2 images, 2 pictures decode"
    assert look(tmp_path, "own") == [first]
    (tmp_path / "own/test/disk/1.png").unlink()
    (fault,) = look(tmp_path, "own")
    assert fault.level == FAULT and "own/test/disk holds no image" in fault.text
