import copy
import os

import pytest
import torch
from torch import nn

from dassl.utils import (
    load_checkpoint,
    load_pretrained_weights,
    resume_from_checkpoint,
    save_checkpoint,
)


def net():
    return nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))


def write(folder, epoch, model=None, **options):
    save_checkpoint({"state_dict": (model or net()).state_dict(), "epoch": epoch}, str(folder), **options)


def test_layout_is_dassls(tmp_path):
    write(tmp_path, 2)
    write(tmp_path, 4, is_best=True)
    assert sorted(os.listdir(tmp_path)) == [
        "checkpoint",
        "model-best.pth.tar",
        "model.pth.tar-2",
        "model.pth.tar-4",
    ]
    assert (tmp_path / "checkpoint").read_text() == "model.pth.tar-4\n"
    assert (tmp_path / "model-best.pth.tar").read_bytes() == (tmp_path / "model.pth.tar-4").read_bytes()


def test_data_parallel_prefix_is_dropped(tmp_path):
    state = {"state_dict": {"module.weight": torch.ones(1), "bias": torch.ones(1)}, "epoch": 1}
    before = copy.deepcopy(state)
    save_checkpoint(state, str(tmp_path))
    assert list(load_checkpoint(str(tmp_path / "model.pth.tar-1"))["state_dict"]) == ["weight", "bias"]
    assert state == before


def test_damaged_checkpoints_are_named(tmp_path):
    write(tmp_path, 1)
    path = tmp_path / "model.pth.tar-1"
    whole = path.read_bytes()
    for content in (b"", b"garbage", whole[:10], whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r'^checkpoint ".*model\.pth\.tar-1" cannot be read') as caught:
            load_checkpoint(str(path))
        assert "\n" not in str(caught.value)


def test_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        load_checkpoint(str(tmp_path / "nothing"))
    with pytest.raises(ValueError, match="None"):
        load_checkpoint(None)


def test_objects_in_a_checkpoint_are_never_built(tmp_path):
    path = str(tmp_path / "evil")
    torch.save({"state_dict": {}, "epoch": 1, "model": net()}, path)
    with pytest.raises(ValueError, match=r"holds a Python object \(torch\.nn\S+\)"):
        load_checkpoint(path)


def test_resume_restores_model_and_optimizer(tmp_path):
    model = net()
    optim = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    sched = torch.optim.lr_scheduler.StepLR(optim, 1)
    model(torch.ones(1, 4)).sum().backward()
    optim.step()
    sched.step()
    state = {"state_dict": model.state_dict(), "epoch": 7, "optimizer": optim.state_dict()}
    save_checkpoint({**state, "scheduler": sched.state_dict()}, str(tmp_path))

    model2 = net()
    optim2 = torch.optim.SGD(model2.parameters(), lr=0.1, momentum=0.9)
    sched2 = torch.optim.lr_scheduler.StepLR(optim2, 1)
    assert resume_from_checkpoint(str(tmp_path), model2, optim2, sched2) == 7
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), model2.parameters()))
    assert optim2.param_groups[0]["lr"] == pytest.approx(0.01)
    momentum = [optim2.state[p]["momentum_buffer"] for p in model2.parameters()]
    assert all(torch.equal(a, p.grad) for a, p in zip(momentum, model.parameters()))
    assert sched2.last_epoch == 1


def test_resume_on_a_model_of_another_shape_is_refused(tmp_path):
    write(tmp_path, 1)
    with pytest.raises(ValueError, match=r"do not fit the model .*0\.weight") as caught:
        resume_from_checkpoint(str(tmp_path), nn.Sequential(nn.Linear(5, 3), nn.Linear(3, 2)))
    assert "\n" not in str(caught.value)


def test_pretrained_weights_load_as_far_as_they_fit(tmp_path, capsys):
    source, target = net(), nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 5))
    torch.save({"module." + k: v for k, v in source.state_dict().items()}, tmp_path / "w")
    load_pretrained_weights(target, str(tmp_path / "w"))
    assert torch.equal(target[0].weight, source[0].weight)
    assert "['1.weight', '1.bias']" in capsys.readouterr().out
    with pytest.raises(ValueError, match="no layer in common"):
        load_pretrained_weights(nn.Linear(9, 9), str(tmp_path / "w"))
