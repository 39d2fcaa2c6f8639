import os
import random

import numpy as np
import pytest
import torch
from torch import nn

from tests.conftest import raiser
from trainers.errors import UserError
from trainers.precision import first_not_finite
from trainers.random_state import random_state, set_random_state
from trainers.run import checkpoint


def draw():
    return random.random(), np.random.rand(), np.random.randn(), torch.rand(1).item()


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "learner" / "model.pth.tar-1")


def state(**more):
    return {"state_dict": {"ctx": torch.zeros(2, 3)}, "epoch": 1, **more}


def test_random_state_survives_the_disk(path):
    np.random.randn()  # leaves a cached number behind, which belongs to the state
    before = random_state()
    training = {"modules": {}, "precision": {}, "random": before, "best_result": 0.5}
    checkpoint.write(state(training=training), path)
    expected = draw()
    draw()
    set_random_state(checkpoint.read(path)["training"]["random"])
    assert draw() == expected


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.pop("numpy"),
        lambda s: s.update(python=(3, (1, 2), None)),
        lambda s: s.update(python=(*s["python"][:2], "x")),
        lambda s: s["numpy"].__setitem__(2, 10**9),  # numpy itself would read behind the end of its keys
        lambda s: s["numpy"].__setitem__(1, s["numpy"][1].float()),
        lambda s: s.update(torch=s["torch"][:100]),
        lambda s: s.update(torch=None),
        lambda s: s.update(cuda=None),
    ],
)
def test_what_is_no_random_state(change):
    before = random_state()
    changed = {**before, "numpy": list(before["numpy"])}
    change(changed)
    with pytest.raises(ValueError, match="no state of the random generators"):
        set_random_state(changed)
    set_random_state(before)


def test_write_is_whole_or_nothing(path, monkeypatch):
    checkpoint.write(state(), path)
    monkeypatch.setattr(os, "fsync", raiser(OSError(28, "No space left on device")))
    with pytest.raises(UserError, match='model.pth.tar-1" cannot be written .No space left on device.: make room'):
        checkpoint.write(state(epoch=2), path)
    assert checkpoint.read(path)["epoch"] == 1
    assert sorted(os.listdir(os.path.dirname(path))) == ["checkpoint", "model.pth.tar-1"]
    with open(os.path.dirname(path) + "/checkpoint", encoding="utf-8") as f:
        assert f.read() == "model.pth.tar-1\n"


def test_prune_keeps_what_it_should(tmp_path):
    kept = ["model-best.pth.tar", "model.pth.tar-3.damaged", "model.pth.tar-03", "model.pth.tar-0", "notes.tmp-7"]
    for name in [*kept, "model.pth.tar-1", "model.pth.tar-2", "model.pth.tar-10"]:
        (tmp_path / name).write_bytes(b"")
    assert checkpoint.epochs_in(str(tmp_path)) == [1, 2, 10]
    checkpoint.prune(str(tmp_path), {2, 10})
    assert checkpoint.epochs_in(str(tmp_path)) == [2, 10]
    assert set(os.listdir(tmp_path)) == {*kept, "model.pth.tar-2", "model.pth.tar-10"}


@pytest.mark.parametrize(
    "content, key",
    [
        (state(epoch=2), '"epoch" in it is 2, which is not that of the file\'s name'),
        (state(epoch=0), '"epoch" in it is not a number from 1'),
        (state(epoch=True), '"epoch" in it is not'),
        (state(epoch="1"), '"epoch" in it is not'),
        ({"epoch": 1}, '"state_dict" in it is missing'),
        ({"state_dict": {}}, '"epoch" in it is missing'),
        (state(**{"state_dict": [1]}), '"state_dict" in it is not tensors by name'),
        ({"state_dict": {1: torch.zeros(1)}, "epoch": 1}, '"state_dict" in it is not'),
        ({"state_dict": {"ctx": torch.zeros(2).to_sparse()}, "epoch": 1}, "holds the Python object .*sparse_tensor,"),
        ({"state_dict": {"ctx": torch.zeros(2, device="meta")}, "epoch": 1}, "holds the Python object .*meta_tensor"),
        (state(classnames="cat"), '"classnames" in it is not a list of names'),
        (state(settings={"A": torch.zeros(2)}), '"settings" in it is not'),
        (state(backbone={"name": "x"}), '"backbone" in it is not'),
        (state(val_result="high"), '"val_result" in it is not a number'),
        (state(data=1), '"data" in it is not'),
        (state(optimizer={}), '"optimizer" in it is not'),
        (state(training={"modules": {}}), '"training" in it is not'),
        ({**state(), 7: 1}, '"7" in it is a key that is not text'),
        ([1], "holds a list where a dict is expected"),
        (torch.zeros(2), "holds a Tensor where a dict is expected"),
    ],
)
def test_what_is_no_checkpoint(path, content, key):
    checkpoint.write(content, path)
    with pytest.raises(UserError, match=f'Checkpoint ".*model.pth.tar-1" .*{key}.*[;:] use another one'):
        checkpoint.read(path)


@pytest.mark.parametrize(
    "weights, message",
    [
        ({"weight": torch.zeros(2, 4)}, r"weight is \(2, 4\) there and \(2, 3\) here"),
        ({}, r"weight is nothing there"),
        ({"weight": torch.zeros(2, 3).long()}, r"weight is \(2, 3\) of whole numbers there and \(2, 3\) here"),
        ({"weight": torch.zeros(2, 3), "bias": torch.zeros(2)}, r"bias is \(2,\) there and nothing here"),
    ],
)
def test_weights_that_do_not_fit(weights, message):
    with pytest.raises(ValueError, match=message):
        checkpoint.load_weights(nn.Linear(3, 2, bias=False), weights, "x")


def test_first_not_finite():
    kinds = torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.uint8, torch.bool
    fine = [(str(dtype), torch.zeros(2, 3).to(dtype)) for dtype in kinds] + [("empty", torch.zeros(0))]
    assert first_not_finite(fine) is None
    for wrong in ("nan", "inf", "-inf"):
        assert first_not_finite([*fine, ("b", torch.tensor([1.0, float(wrong)]))]) == "b"
        assert first_not_finite([("b", torch.tensor([float(wrong), 1.0]).half()), *fine]) == "b"
