import json

import numpy as np
import pytest

import dassl.data.data_manager as data_manager


@pytest.fixture
def tested(make_trainer, tmp_path):
    """tested(key of a record, trainer name, KEY, value, ...) -> what metrics.json says of a test, and its logits.

    change: a function that gets the trainer before the test.
    """

    def test(key, name, *options, change=lambda trainer: None):
        trainer = make_trainer(name, "TEST.SAVE_PREDICTIONS", True, *options)
        change(trainer)
        trainer.test()
        record = json.loads((tmp_path / "output" / "metrics.json").read_text())
        return record.get(key, 0), np.load(tmp_path / "output" / "predictions.npz")["logits"]

    return test


@pytest.fixture
def read(monkeypatch):
    """Paths of the pictures that are read, in their order."""
    paths, original = [], data_manager.read_image
    monkeypatch.setattr(data_manager, "read_image", lambda path: paths.append(path) or original(path))
    return paths
