"""Old code runs as it did, beside a guest, and new code as it does."""

import collections

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import SGD, lr_scheduler

from foreign import bridges


class Whole:
    """An object that old checkpoints hold."""


@pytest.fixture
def crossed(monkeypatch):
    for holder, name, value in list(bridges.replacements()):
        monkeypatch.setattr(holder, name, value, raising=False)


def test_old_code(crossed, tmp_path):
    torch.save({"scheduler": Whole()}, tmp_path / "old.pth")
    assert isinstance(torch.load(tmp_path / "old.pth")["scheduler"], Whole)
    with pytest.raises(Exception, match="Weights only load failed"):  # who asks for that has it
        torch.load(tmp_path / "old.pth", weights_only=True)
    optimizer = SGD([nn.Parameter(torch.ones(1))], lr=1.0)

    class Warmup(lr_scheduler._LRScheduler):
        def __init__(self, optimizer, successor, last_epoch=-1, verbose=False):
            self.successor = successor
            super().__init__(optimizer, last_epoch, verbose)

        def get_lr(self):
            return [0.5]

    Warmup(optimizer, lr_scheduler.StepLR(optimizer, 1, 0.1, -1, False), verbose=True)
    lr_scheduler.ReduceLROnPlateau(optimizer, verbose=True)
    assert optimizer.param_groups[0]["lr"] == 0.5
    assert np.array([1.5]).astype(np.int)[0] == 1 and np.Inf > 1 and np.bool is np.bool_
    assert collections.Iterable is collections.abc.Iterable


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu(crossed):
    layer, x = nn.Linear(2, 2), torch.ones(1, 2)
    assert layer.cuda().half()(x.cuda().half()).dtype == torch.float32
    assert x.to("cuda:0", dtype=torch.float64).dtype == torch.float64 and layer.to(device=torch.device("cuda")) is layer
    assert x.to(torch.float16).dtype == torch.float16 and x.to("cpu") is x
