from types import SimpleNamespace

import torch

from benchmarks import store


def test_every_way_is_measured(monkeypatch):
    """On a CLIP and pictures of toy size."""
    monkeypatch.setattr(store, "GEOMETRY", (32, 32, 3, 64, 8, 77, 49408, 64, 1, 2))
    monkeypatch.setattr(store, "BATCH", 4)
    torch.manual_seed(0)
    table = store.measure(SimpleNamespace(classes=3, pictures=6, batches=2, rounds=1, only=None))
    tests, trainings = ["not stored", "cold", "warm"], ["drawn views", "stored views, warm"]
    assert [row[:3] for row in table.rows] == [
        *(["CoOp", "evaluations", way] for way in tests),
        *(["CoOp", "epochs", way] for way in trainings),
        *(["SEP", "evaluations", way] for way in tests),
        *([name, "epochs", way] for name in ("E2MIM", "SkipTuning") for way in trainings),
    ]
    assert all(row[3] > 0 for row in table.rows)
    assert "6 pictures tested" in table.text()
