"""What is CoOp's: split files by their git blob ids, samples by digests; whatever is not known is not said."""

import json
import re
import subprocess
from types import SimpleNamespace

import pytest

from dassl.data.datasets import Datum, build_dataset
from datasets import published
from datasets.sources import steps
from tests.datasets.stubs import SPLITS, STEMS, config, make


@pytest.mark.parametrize("content", [b"", b"{}\n", "né".encode() * 100])
def test_blob_ids_are_gits(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    git = subprocess.run(["git", "hash-object", "file"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert published.git_blob_id(tmp_path / "file") == git.stdout.strip()


def test_every_split_file_of_coops_has_its_id():
    found = {step.file: step.blob for of in steps().values() for step in of if step.blob}
    assert set(found) == {f"split_zhou_{name}.json" for name, *_ in SPLITS.values()}
    assert len(set(found.values())) == 9 and all(re.fullmatch("[0-9a-f]{40}", blob) for blob in found.values())


@pytest.mark.parametrize("stem", STEMS)
def test_the_split_of_each_loader(stem, tmp_path, capsys, monkeypatch):
    make(stem, tmp_path)
    dataset = build_dataset(config(stem, tmp_path))
    said = capsys.readouterr().out
    if stem not in SPLITS:
        assert dataset.origin == {"split_file": "built here"} and said.count("The split is built here from") == 1
        return
    name, folder, *_ = SPLITS[stem]
    path = tmp_path / folder / f"split_zhou_{name}.json"
    blob = published.git_blob_id(path)
    assert dataset.origin == {"split_file": "another"} and f"git blob id {blob[:12]}, not " in said
    monkeypatch.setattr(published, "step_for", lambda *what: SimpleNamespace(blob=blob))
    assert build_dataset(config(stem, tmp_path)).origin == {"split_file": "coop"}
    assert f"The split is CoOp's own, split_zhou_{name}.json" in capsys.readouterr().out


def test_samples_are_of_ten_data_sets():
    with open(published.SAMPLES, encoding="utf-8") as file:
        known = json.load(file)
    assert set(known) == {name for name, *_ in SPLITS.values()} | {"FGVCAircraft"}
    for samples in known.values():
        assert list(samples) == [f"{shots}-{seed}" for shots in (1, 2, 4, 8, 16) for seed in (1, 2, 3)]
        digests = sum(samples.values(), [])
        assert all(re.fullmatch("[0-9a-f]{16}", digest) for digest in digests)
        # of 4, 8 and 16 shots a seed has validation images of its own, as it is drawn after the training images
        assert len({tuple(pair) for pair in samples.values()}) == 15


def test_a_sample_is_told_by_paths_labels_and_order(monkeypatch):
    images = [Datum.__new__(Datum) for _ in range(3)]
    for number, image in enumerate(images):
        image.impath, image.label = f"/d/x/{number}.jpg", number
    digests = [published.sample_digest(part, "/d") for part in (images, images[:1])]
    assert digests[1] == "b4b65248bc3cc78f"  # of "x/0.jpg\t0\n", by sha256sum
    monkeypatch.setattr(published, "_samples", lambda: {"X": {"1-2": digests}})

    def origin(train=images, val=images[:1], shots=1, seed=2, name="X", folder="/d"):
        return published.sample_origin(name, train, val, shots, seed, folder)

    assert origin() == "coop, shots 1, seed 2"
    for other in ({"train": images[::-1]}, {"val": images[1:2]}, {"val": None}, {"folder": "/d/x"}):
        assert origin(**other) == "another, shots 1, seed 2"
    assert origin(seed=3) == origin(shots=2) == origin(name="Y") == ""


def test_of_other_data_sets_nothing_is_said():
    assert published.split_origin("Shapes", "anything") is None
