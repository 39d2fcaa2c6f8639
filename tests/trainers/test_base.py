"""Building, precision and training, as far as it is the same for all methods; CoOp stands for them."""

import json
import random
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import default_collate
from yacs.config import CfgNode as CN

from dassl.config import get_cfg_default
from trainers.keys import Key, add_defaults
from trainers.run import checkpoint


def test_half_precision_falls_back_aloud(make_trainer, capsys):
    trainer = make_trainer("CoOp", "TRAINER.COOP.PREC", "fp16")
    assert "fp32 on the CPU" in capsys.readouterr().out
    assert trainer.model.text_encoder.text_projection.dtype == torch.float32


@pytest.mark.parametrize("prec", ["bf16", "amp"])
def test_training_in_other_precisions(make_trainer, prec):
    trainer = make_trainer("SEP", "TRAINER.SEP.PREC", prec)
    trainer.train()
    assert trainer.model.prompt_learner.ctx.dtype == torch.float32
    assert torch.isfinite(trainer.model.prompt_learner.ctx).all()


def test_defaults_do_not_disturb_a_forks_node():
    parent = CN({"COOP": CN({"N_CTX": 99})})
    add_defaults("COOP", SimpleNamespace(N_CTX=16, CSC=Key(False)), parent, "TEST_ONLY.")
    assert parent.COOP.N_CTX == 99 and parent.COOP.CSC is False
    add_defaults("NEW", SimpleNamespace(A=1), parent, "TEST_ONLY.")
    assert parent.NEW.A == 1
    assert get_cfg_default().TRAINER.COOP.N_CTX == 16


def test_building_and_preparing_do_not_shift_training(make_trainer):
    """What SEP prepares before training draws nothing from the generators."""
    trainer = make_trainer("SEP")
    state = torch.get_rng_state(), random.getstate()
    trainer.before_train()
    assert torch.equal(torch.get_rng_state(), state[0]) and random.getstate() == state[1]


def test_preparation_has_no_gradients(make_trainer, monkeypatch):
    """Nor has the loop of a method that draws images: each batch is one of the consumer's."""
    trainer = make_trainer("CoOp", "DATALOADER.TEST.BATCH_SIZE", 20)
    seen = []

    def prepare_training():
        for features, label in trainer.training_features():
            seen.append((len(label), trainer.model.encode_text().requires_grad or features.requires_grad))

    monkeypatch.setattr(trainer, "prepare_training", prepare_training)
    trainer.before_train()
    assert seen == [(20, False), (16, False)]


def test_monitors_are_of_the_batch_at_hand(make_trainer):
    trainer = make_trainer("CoOp")
    trainer.model.monitors["of another batch"] = torch.tensor(1.0)
    trainer.num_batches = 2
    batch = default_collate([trainer.train_loader_x.dataset[i] for i in (0, 7)])
    assert list(trainer.forward_backward(batch)) == ["loss", "ce", "acc"]


def test_seconds_of_a_resumed_run_count_what_was_before(make_trainer, tmp_path):
    output = tmp_path / "run"
    make_trainer("CoOp", output=output).train()
    path = str(output / "prompt_learner" / "model.pth.tar-3")
    state = checkpoint.read(path, "")
    assert 0 < state["seconds"] < 100
    checkpoint.write({**state, "seconds": 1000.0}, path)
    make_trainer("CoOp", output=output).train()
    assert 1000 < json.loads((output / "metrics.json").read_text())["seconds"] < 1100


def test_a_run_that_was_killed_after_its_last_epoch_is_tidied(make_trainer, tmp_path):
    folder = tmp_path / "run" / "prompt_learner"
    make_trainer("CoOp", output=folder.parent).train()
    left = sorted(path.name for path in folder.iterdir())
    (folder / "model.pth.tar-2").write_bytes((folder / "model.pth.tar-3").read_bytes())
    make_trainer("CoOp", output=folder.parent).train()
    assert sorted(path.name for path in folder.iterdir()) == left
