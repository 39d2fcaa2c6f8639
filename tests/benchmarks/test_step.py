from types import SimpleNamespace

import pytest

from benchmarks import step
from harness.command_line import parse_args
from tests.trainers.methods import METHODS


def measure(*trainers):
    return step.measure(SimpleNamespace(trainers=list(trainers), root="", batch_size=4, rounds=1))


@pytest.fixture
def tiny_configs(monkeypatch, make_cfg):
    """The command's trainers and pairs on TinyData, with the stored views that bundled configs have."""

    def config_of(arguments):
        args = parse_args(arguments)
        row = METHODS.get(args.trainer.lower())
        return make_cfg(args.trainer, *(row.options if row else ()), "DATALOADER.STORED_VIEWS", 2, *args.opts)

    monkeypatch.setattr(step, "config_of", config_of)


def test_trainers_that_learn_are_listed(tiny_configs, one_process, monkeypatch):
    monkeypatch.setattr(step.launches, "of_step", lambda subject: 1)
    table = measure("CoOp", "ZeroshotCLIP", "MaPLe")
    assert table.title.startswith("Optimisation step on 3 classes, batch 4 for all")  # the base half of six
    (first, second) = table.rows
    assert (first[0], first[2], second[0]) == ("CoOp", 1, "MaPLe")
    for _, ms, ratio, per_image, memory, launched in (first, second):
        assert ms > 0 and memory > 0 and launched == 1
        assert per_image == pytest.approx(ms / 4)
        assert ratio == pytest.approx(ms / first[1])


def test_by_default_those_that_learn_from_a_run_are_left_out(monkeypatch):
    asked = []
    monkeypatch.setattr(step, "in_fresh_process", lambda _, name, *rest: asked.append(name))
    with pytest.raises(ValueError, match="none of these trainers learns"):
        measure()
    assert {"CoOp", "TwoSFS", "SEP"} < set(asked) and "PromptKD" not in asked


def test_a_timed_step_is_not_an_epochs_last(tiny_configs, tmp_path):
    trainer = step.build("CoOp", "", 4, str(tmp_path))
    before = trainer.get_current_lr()
    trainer.forward_backward(next(iter(trainer.train_loader_x)))
    assert trainer.get_current_lr() == before and trainer.model.training
