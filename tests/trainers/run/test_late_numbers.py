"""A step queues its work and goes on: nothing in it reads what a GPU would still be computing."""

import contextlib
from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import default_collate

from tests.trainers.methods import LEARNING, METHODS
from trainers.errors import NotFinite
from trainers.run.late_numbers import LateNumbers

WAITING = ("item", "tolist", "numpy", "cpu", "__bool__", "__int__", "__float__", "__index__", "nonzero")
WAITING_OPS = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "bincount", "equal")


class NoWaiting(TorchDispatchMode):
    """Fails on what makes the host wait for a device: its numbers, and shapes that depend on them."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        masks = name.startswith("index") and any(t is not None and t.dtype == torch.bool for t in _flat(args[1:]))
        if masks or name.lstrip("_").startswith(tuple(op.lstrip("_") for op in WAITING_OPS)):
            raise AssertionError(f"{func} waits for the device")
        return func(*args, **(kwargs or {}))


def _flat(args):
    for arg in args:
        if isinstance(arg, (list, tuple)):
            yield from _flat(arg)
        elif arg is None or torch.is_tensor(arg):
            yield arg


@contextlib.contextmanager
def no_waiting(monkeypatch, host=()):
    """`host`: tensors that no device has to be asked for."""

    def fail(name):
        original = getattr(torch.Tensor, name)

        def wait(tensor, *args, **kwargs):
            if any(tensor is known for known in host):
                return original(tensor, *args, **kwargs)
            raise AssertionError(f"{name} waits for the device")

        return wait

    with monkeypatch.context() as patch, NoWaiting():
        for name in WAITING:
            patch.setattr(torch.Tensor, name, fail(name))
        yield


@pytest.fixture(params=LEARNING)
def learning(request):
    return METHODS[request.param]


@pytest.fixture
def late(monkeypatch):
    """Makes LateNumbers those of a GPU, which are read a step later; returns when each was made and read."""
    events = []
    init, items = LateNumbers.__init__, LateNumbers.items

    def init_late(self, check, /, **numbers):
        init(self, check, **numbers)
        self.late, self._copied = True, SimpleNamespace(synchronize=lambda: None)
        self.number = sum(what == "made" for what, _ in events)
        events.append(("made", self.number))

    monkeypatch.setattr(LateNumbers, "__init__", init_late)
    monkeypatch.setattr(LateNumbers, "items", lambda self: events.append(("read", self.number)) or items(self))
    return events


@pytest.mark.parametrize("trap", ["item", "tolist", "mask", "unique"])
def test_the_trap_works(monkeypatch, trap):
    x = torch.arange(4.0)
    waits = {
        "item": lambda: x.sum().item(),
        "tolist": lambda: x.tolist(),
        "mask": lambda: x[x > 1],
        "unique": lambda: x.unique(),
    }
    with pytest.raises(AssertionError, match="waits for the device"), no_waiting(monkeypatch):
        waits[trap]()


def test_a_step_waits_for_nothing(learning, make_trainer, monkeypatch, late):
    trainer = make_trainer(learning.trainer, *learning.options)
    trainer.before_train()
    trainer.set_model_mode("train")
    trainer.epoch, trainer.batch_idx, trainer.num_batches = 0, 0, 10
    batch = default_collate([trainer.train_loader_x.dataset[i] for i in (0, 7, 14, 21)])
    trainer.forward_backward(batch)  # what is made once may wait

    def parse(batch, original=trainer.parse_batch_train):
        image, label = original(batch)
        return image, label.clone()  # as on a device: another tensor than the loader's

    monkeypatch.setattr(trainer, "parse_batch_train", parse)
    monkeypatch.setattr(trainer.precision, "step", lambda optimiser: None)  # Adam counts its steps on the host
    with no_waiting(monkeypatch, host=[batch["label"]]):
        trainer.forward_backward(batch)


def test_numbers_are_read():
    checked = []
    numbers = LateNumbers(checked.append, loss=torch.tensor([2.0]), acc=torch.tensor(50), check=torch.tensor(1))
    assert not numbers.late and list(numbers) == ["loss", "acc", "check"] and checked == []
    assert dict(numbers.items()) == {"loss": 2.0, "acc": 50.0, "check": 1.0} == checked[0]
    assert numbers["loss"].item() == 2.0


def test_late_numbers_are_the_same_in_log_and_curves(make_trainer, monkeypatch, capsys, tmp_path, request):
    def printed(name):
        written = []
        trainer = make_trainer("CoOp", "OPTIM.MAX_EPOCH", 2, "TRAIN.PRINT_FREQ", 2, output=tmp_path / name)
        monkeypatch.setattr(trainer, "write_scalar", lambda *args: written.append(args))
        capsys.readouterr()
        trainer.train()
        lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
        return [(line.split(" time ")[0], line.split(" loss ")[1].split(" eta ")[0]) for line in lines], written

    at_once = printed("at_once")
    events = request.getfixturevalue("late")
    assert printed("late") == at_once and len(at_once[0]) >= 2
    n = len(events) // 4  # steps in each of two epochs
    one = [("made", 0), *(e for i in range(1, n) for e in (("made", i), ("read", i - 1))), ("read", n - 1)]
    assert n > 1 and events == one + [(what, n + i) for what, i in one]


@pytest.mark.parametrize("bad", [1, 4])
def test_a_step_whose_numbers_came_late_is_named(make_trainer, monkeypatch, tmp_path, late, bad):
    """It is that step, of four, though the next has been taken; and no epoch ends before its last numbers came."""
    trainer = make_trainer("CoOp", output=tmp_path / "run")
    original = trainer.parse_batch_train

    def parse(batch):
        return original({**batch, "img": batch["img"] * float("nan")} if trainer.batch_idx + 1 == bad else batch)

    monkeypatch.setattr(trainer, "parse_batch_train", parse)
    with pytest.raises(NotFinite, match=f"^Loss term ce became nan in epoch 1, batch {bad}: lower OPTIM.LR"):
        trainer.train()
    assert (trainer.batch_idx, trainer.num_batches) == (min(bad, 3), 4)
    assert not list((tmp_path / "run").glob("prompt_learner/model*"))
