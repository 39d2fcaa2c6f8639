"""Loading, resuming and testing, as far as it is the same for all methods; CoOp stands for them."""

import json
import random

import pytest
import torch
from yacs.config import CfgNode as CN

from dassl.config import get_cfg_default
from trainers.base import add_defaults
from trainers.prompting import checkpoint


@pytest.fixture
def trained(make_trainer, tmp_path):
    trainer = make_trainer("CoOp", "TRAINER.COOP.N_CTX", 4, "TRAIN.CHECKPOINT_FREQ", 2)
    trainer.train()
    return str(tmp_path / "output")


def test_checkpoint_frequency(trained):
    assert checkpoint.epochs_in(trained + "/prompt_learner") == [2, 3]


def test_load_epoch(make_trainer, trained):
    trainer = make_trainer("CoOp", "TRAINER.COOP.N_CTX", 4)
    trainer.load_model(trained)
    last = trainer.model.prompt_learner.ctx.clone()
    assert trainer.trained_epochs == 3
    trainer.load_model(trained, epoch=2)
    assert trainer.trained_epochs == 2 and not torch.equal(last, trainer.model.prompt_learner.ctx)
    with pytest.raises(FileNotFoundError, match="epoch 7 .*--load-epoch can be 2, 3"):
        trainer.load_model(trained, epoch=7)
    with pytest.raises(FileNotFoundError, match="No checkpoint below .*train first"):
        trainer.load_model(trained + "/nothing")


def test_checkpoint_of_another_shape(make_trainer, trained):
    trainer = make_trainer("CoOp", "TRAINER.COOP.N_CTX", 5)
    with pytest.raises(ValueError, match=r"ctx is \(4, 64\) there and \(5, 64\) here"):
        trainer.load_model(trained)
    with pytest.raises(ValueError, match=r"ctx is \(4, 64\) there and \(5, 64\) here"):
        make_trainer("CoOp", "TRAINER.COOP.N_CTX", 5).train()


def test_context_of_each_class_fits_no_other_classes(make_trainer, tmp_path):
    """Base and new have three classes each, so the shapes agree; shared contexts load."""
    options = ("CoOp", "TRAINER.COOP.N_CTX", 4, "TRAINER.COOP.CSC", True, "DATASET.SUBSAMPLE_CLASSES")
    base = make_trainer(*options, "base")
    base.train()
    make_trainer(*options, "base").load_model(str(tmp_path / "output"))
    for classes in ("new", "all"):
        with pytest.raises(ValueError, match="a context for each of the 3 classes it was trained on, .*CSC False"):
            make_trainer(*options, classes, output=tmp_path / "test").load_model(str(tmp_path / "output"))


def test_checkpoint_of_another_backbone(make_trainer, trained, weights, tmp_path):
    """The same shapes, other weights: the file's name does not matter, what is in it does."""
    state = torch.load(weights["vit"], weights_only=True)
    same, other = str(tmp_path / "same.pt"), str(tmp_path / "other.pt")
    torch.save(state, same)
    torch.save(dict(state, text_projection=state["text_projection"] + 0.1), other)
    options = ("CoOp", "TRAINER.COOP.N_CTX", 4, "MODEL.BACKBONE.NAME")
    make_trainer(*options, same).load_model(trained)
    for load in (lambda trainer: trainer.load_model(trained), lambda trainer: trainer.train()):
        with pytest.raises(ValueError, match=r"trained on backbone .*vit.pt, whose weights are not .*other.pt"):
            load(make_trainer(*options, other))


def test_a_result_says_which_model_it_is_of(make_trainer, trained, tmp_path):
    assert json.loads((tmp_path / "output" / "metrics.json").read_text())["model_dir"] == ""
    trainer = make_trainer("CoOp", "TRAINER.COOP.N_CTX", 4, output=tmp_path / "test")
    trainer.load_model(trained)
    trainer.test()
    assert json.loads((tmp_path / "test" / "metrics.json").read_text())["model_dir"] == trained


def test_finished_training_is_not_repeated(make_trainer, trained, capsys):
    before = checkpoint.read(trained + "/prompt_learner/model.pth.tar-3")["state_dict"]["ctx"]
    trainer = make_trainer("CoOp", "TRAINER.COOP.N_CTX", 4, "TRAIN.CHECKPOINT_FREQ", 2)
    trainer.train()
    assert torch.equal(trainer.model.prompt_learner.ctx, before)
    assert "3 of 3 epochs are done" in capsys.readouterr().out


def test_best_model_on_validation_data(make_trainer, tmp_path):
    trainer = make_trainer("CoOp", "TEST.FINAL_MODEL", "best_val")
    trainer.train()
    assert (tmp_path / "output" / "prompt_learner" / checkpoint.BEST).exists()
    fresh = make_trainer("CoOp", "TEST.FINAL_MODEL", "best_val")
    fresh.load_model(str(tmp_path / "output"))
    assert json.loads((tmp_path / "output" / "metrics.json").read_text())["model_dir"] == ""
    best = checkpoint.read(str(tmp_path / "output" / "prompt_learner" / checkpoint.BEST))
    assert torch.equal(fresh.model.prompt_learner.ctx, best["state_dict"]["ctx"])
    fresh.val_loader = None
    with pytest.raises(ValueError, match="no validation split"):
        fresh.test(split="val")


def test_half_precision_falls_back_aloud(make_trainer, capsys):
    trainer = make_trainer("CoOp", "TRAINER.COOP.PREC", "fp16")
    assert "fp32 on the CPU" in capsys.readouterr().out
    assert trainer.model.text_encoder.text_projection.dtype == torch.float32
    with pytest.raises(ValueError, match="fp64.*fp32, fp16, bf16, amp"):
        make_trainer("CoOp", "TRAINER.COOP.PREC", "fp64")


@pytest.mark.parametrize("prec", ["bf16", "amp"])
def test_training_in_other_precisions(make_trainer, prec):
    trainer = make_trainer("SEP", "TRAINER.SEP.PREC", prec)
    trainer.train()
    assert trainer.model.prompt_learner.ctx.dtype == torch.float32
    assert torch.isfinite(trainer.model.prompt_learner.ctx).all()


def test_input_size_of_another_backbone(make_trainer):
    with pytest.raises(ValueError, match="INPUT.SIZE is 64 x 64.* takes 32 x 32"):
        make_trainer("CoOp", "INPUT.SIZE", (64, 64))


def test_epsilon_reaches_the_optimiser(make_trainer):
    trainer = make_trainer("CoOp", "OPTIM.EPS", 1e-3)
    assert trainer.optim.param_groups[0]["eps"] == 1e-3


def test_defaults_do_not_disturb_a_forks_node():
    parent = CN({"COOP": CN({"N_CTX": 99})})
    add_defaults("COOP", CN({"N_CTX": 16, "CSC": False}), parent)
    assert parent.COOP.N_CTX == 99 and parent.COOP.CSC is False
    add_defaults("NEW", CN({"A": 1}), parent)
    assert parent.NEW.A == 1
    assert get_cfg_default().TRAINER.COOP.N_CTX == 16


def test_building_and_preparing_do_not_shift_training(make_trainer):
    """What SEP prepares before training draws nothing from the generators."""
    trainer = make_trainer("SEP")
    state = torch.get_rng_state(), random.getstate()
    trainer.before_train()
    assert torch.equal(torch.get_rng_state(), state[0]) and random.getstate() == state[1]
