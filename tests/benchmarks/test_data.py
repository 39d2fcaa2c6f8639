import os
from types import SimpleNamespace

import pytest

from benchmarks import data
from datasets.listing import CACHE


def test_stub_is_read_as_imagenet_and_its_cache_is_trusted(tmp_path, monkeypatch):
    data.make_stub(tmp_path, 3, {"train": 100, "val": 7})
    assert len(list(tmp_path.glob("imagenet/images/train/*/*.JPEG"))) == 100
    assert len(list(tmp_path.glob("imagenet/images/val/*/*.JPEG"))) == 7
    seconds, memory, n_train, n_test = data.build_imagenet(str(tmp_path))
    assert seconds > 0 and memory > 0 and (n_train, n_test) == (48, 7)
    assert (tmp_path / "imagenet" / CACHE).exists()
    read, listdir = [], os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: read.append(path) or listdir(path))
    assert data.build_imagenet(str(tmp_path))[2:] == (48, 7)
    assert not any("images" in str(path) for path in read)


@pytest.mark.parametrize("limit, verdict", [(1e9, "yes"), (0.0, "NO")])
def test_seconds_are_compared_with_their_limits_and_nothing_is_left(one_process, monkeypatch, tmp_path, limit, verdict):
    monkeypatch.setattr(data, "N_CLASSES", 3)
    monkeypatch.setattr(data, "IMAGES", {"train": 1_000, "val": 6})
    monkeypatch.setattr(data, "LIMITS", {"first": limit, "cached": limit})
    monkeypatch.setattr(data, "MEMORY_LIMIT", 1_000_000)
    monkeypatch.setattr(data.tempfile, "tempdir", str(tmp_path))
    table = data.measure(SimpleNamespace(pictures=None))
    assert table.title.startswith("ImageNet's list of files, 1,006 in 3 classes")
    assert [(row[0], row[-1]) for row in table.rows] == [("first", verdict), ("cached", verdict)]
    assert list(tmp_path.iterdir()) == []
