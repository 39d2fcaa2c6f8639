import random

import numpy as np
import pytest
import torch
from torch import nn

from trainers.prompting import checkpoint


def draw():
    return random.random(), np.random.rand(), np.random.randn(), torch.rand(1).item()


def test_random_state_survives_the_disk(tmp_path):
    np.random.randn()  # leaves a cached number behind, which belongs to the state
    path = str(tmp_path / "learner" / "model.pth.tar-1")
    checkpoint.write({"random": checkpoint.random_state()}, path)
    expected = draw()
    draw()
    checkpoint.set_random_state(checkpoint.read(path)["random"])
    assert draw() == expected


def test_write_is_whole_or_nothing(tmp_path, monkeypatch):
    path = str(tmp_path / "model.pth.tar-3")
    checkpoint.write({"a": 1}, path)

    def broken(state, f):
        f.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", broken)
    with pytest.raises(OSError):
        checkpoint.write({"a": 2}, path)
    assert checkpoint.read(path) == {"a": 1}
    assert (tmp_path / "checkpoint").read_text() == "model.pth.tar-3\n"


def test_code_is_not_unpickled(tmp_path):
    path = tmp_path / "model.pth.tar-1"
    torch.save({"state_dict": {}, "evil": random.Random()}, path)
    with pytest.raises(ValueError, match="cannot be read"):
        checkpoint.read(str(path))


def test_prune_keeps_what_it_should(tmp_path):
    for epoch in (1, 2, 10):
        checkpoint.write({}, checkpoint.path_of(str(tmp_path), epoch))
    checkpoint.write({}, str(tmp_path / checkpoint.BEST))
    (tmp_path / "model.pth.tar-3.tmp-77").write_bytes(b"half")
    checkpoint.prune(str(tmp_path), {2, 10})
    assert checkpoint.epochs_in(str(tmp_path)) == [2, 10]
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "checkpoint",
        "model-best.pth.tar",
        "model.pth.tar-10",
        "model.pth.tar-2",
    ]


def test_no_folder_has_no_epochs(tmp_path):
    assert checkpoint.epochs_in(str(tmp_path / "nothing")) == []


@pytest.mark.parametrize(
    "weights, message",
    [
        ({"weight": torch.zeros(2, 4)}, r"weight is \(2, 4\) there and \(2, 3\) here"),
        ({}, r"weight is nothing there"),
        ({"weight": torch.zeros(2, 3), "bias": torch.zeros(2)}, r"bias is \(2,\) there and nothing here"),
    ],
)
def test_weights_that_do_not_fit(weights, message):
    with pytest.raises(ValueError, match=message):
        checkpoint.load_weights(nn.Linear(3, 2, bias=False), weights, "x")
