"""Runs of what is fitted in one go or belongs to its training classes: Tip-Adapter, Tip-Adapter-F, linear probe."""

import math

import numpy as np
import pytest
import torch

from dassl.config import get_cfg_default
from harness.config import merge_file
from tests.conftest import REPOSITORY, raiser
from tests.trainers.methods import METHODS
from trainers.base import PromptTrainer
from trainers.errors import UserError
from trainers.run import checkpoint

BOUND = [name for name, row in METHODS.items() if row.class_specific]
FITTED = [name for name, row in METHODS.items() if row.fitted]
ROW = METHODS["tipadapter"]


def make(make_trainer, name, *options, **kwargs):
    row = METHODS[name]
    return make_trainer(row.trainer, *row.options, *options, **kwargs)


@pytest.mark.parametrize("name", BOUND)
def test_other_classes_are_refused(make_trainer, tmp_path, name):
    options = ("DATASET.SUBSAMPLE_CLASSES", "base", "OPTIM.MAX_EPOCH", 1)
    trained = make(make_trainer, name, *options, output=tmp_path / "base")
    trained.train()
    holds = trained.model.prompt_learner.class_specific
    new = make(make_trainer, name, "DATASET.SUBSAMPLE_CLASSES", "new", "OPTIM.MAX_EPOCH", 1, output=tmp_path / "new")
    sentence = f"holds {holds} of the 3 classes it was trained on, which are not those of this run: test it on its own."
    with pytest.raises(UserError, match=sentence):
        new.load_model(str(tmp_path / "base"))
    again = make(make_trainer, name, *options, output=tmp_path / "again")
    again.load_model(str(tmp_path / "base"))
    for key, value in trained.model.prompt_learner.state_dict().items():
        assert torch.equal(value, again.model.prompt_learner.state_dict()[key]), key


@pytest.mark.parametrize("name", FITTED)
def test_a_killed_fit_starts_anew_and_a_finished_one_is_kept(make_trainer, monkeypatch, tmp_path, name):
    die = raiser(KeyboardInterrupt())
    whole = make(make_trainer, name, output=tmp_path / "whole")
    whole.train()
    cut = make(make_trainer, name, output=tmp_path / "cut")
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(PromptTrainer, "validation_features", die)  # some of it is fitted
        cut.train()
    assert checkpoint.epochs_in(tmp_path / "cut/prompt_learner") == []
    again = make(make_trainer, name, output=tmp_path / "cut")
    again.train()
    with monkeypatch.context() as patched:
        patched.setattr(PromptTrainer, "validation_features", die)
        kept = make(make_trainer, name, output=tmp_path / "cut")
        kept.train()
    for key, value in whole.model.prompt_learner.state_dict().items():
        for other in (again, kept):
            assert torch.equal(value, other.model.prompt_learner.state_dict()[key]), key


def keys_of(trainer):
    trainer.model.prompt_learner.fill(trainer.training_features(-1 - view) for view in range(2))
    return trainer.model.prompt_learner.keys.detach().clone()


def test_keys_are_means_of_views_that_the_seed_gives(make_trainer, tmp_path):
    trainer = make(make_trainer, "tipadapter")
    views = [torch.cat([f for f, _ in trainer.training_features(view)]) for view in (-1, -2)]
    plain = torch.cat([f for f, _ in trainer.training_features()])
    assert (views[0] - views[1]).abs().max() > 1e-3 and (views[0] - plain).abs().max() > 1e-3
    label = torch.cat([label for _, label in trainer.training_features()])
    keys = keys_of(trainer)
    mean = torch.nn.functional.normalize(sum(views), dim=-1)
    torch.testing.assert_close(keys[2], mean[label == 2])
    assert torch.equal(keys, keys_of(make(make_trainer, "tipadapter_f", "STORE.MAX_GB", 0.0)))
    assert not torch.equal(keys, keys_of(make(make_trainer, "tipadapter", "SEED", 2)))
    trainer.cfg.SEED = -1
    assert not torch.equal(keys_of(trainer), keys_of(trainer))


@pytest.mark.parametrize("name", BOUND)
def test_nothing_is_chosen_on_test_images(make_trainer, capsys, name):
    """As ImageNet's, whose validation images are its test images."""
    row = METHODS[name]
    trainer = make(make_trainer, name, "OPTIM.MAX_EPOCH", 1)
    trainer.dm.dataset.val = trainer.dm.dataset.test
    trainer.train()
    said = capsys.readouterr().out
    if name == "linear_probe":
        assert "C 0.316: there are no validation images to choose it on" in said
    else:
        assert "alpha 1.17, beta 1.00: where they start; no validation images choose them" in said
    trainer = make(make_trainer, name, "OPTIM.MAX_EPOCH", 1, "SEED", 2)
    assert trainer.validation_features()[0].shape == (12, 32) and row.class_specific


def test_chosen_values_are_tested_and_kept(make_trainer, tmp_path):
    """And those of the best epoch are its own."""
    trainer = make(make_trainer, "tipadapter_f", "TEST.FINAL_MODEL", "best_val", "OPTIM.MAX_EPOCH", 2)
    chosen = []
    search = trainer.model.search

    def search_and_note(validation):
        search(validation)
        chosen.append([trainer.model.prompt_learner.alpha.item(), trainer.model.prompt_learner.beta.item()])
        trainer.model.prompt_learner.beta.add_(len(chosen))

    trainer.model.search = search_and_note
    trainer.train()
    assert len(chosen) == 2
    best = checkpoint.read(str(tmp_path / "output/prompt_learner/model-best.pth.tar"))
    epoch = best["epoch"]
    assert best["state_dict"]["beta"].item() == pytest.approx(chosen[epoch - 1][1] + epoch)


def test_what_cannot_be(make_trainer, build):
    with pytest.raises(UserError, match="TipAdapter keeps a key for each training image: set DATASET.NUM_SHOTS to 1"):
        build("tipadapter", "DATASET.NUM_SHOTS", -1)
    with pytest.raises(UserError, match="A class has 6 training images, but DATASET.NUM_SHOTS is 2: set it to 6"):
        make(make_trainer, "tipadapter", "DATASET.NUM_SHOTS", 2).train()
    with pytest.raises(UserError, match="TipAdapter is fitted to its images alone: leave MODEL.INIT_WEIGHTS out"):
        make(make_trainer, "tipadapter", "MODEL.INIT_WEIGHTS", "some.pth.tar")


def test_keys_that_are_given_are_where_training_starts(make_trainer, tmp_path):
    make(make_trainer, "tipadapter_f", "OPTIM.MAX_EPOCH", 1, output=tmp_path / "first").train()
    path = checkpoint.path_of(str(tmp_path / "first/prompt_learner"), 1)
    trainer = make(make_trainer, "tipadapter_f", "MODEL.INIT_WEIGHTS", path)
    trainer.prepare_training()
    assert torch.equal(trainer.model.prompt_learner.keys, checkpoint.read(path)["state_dict"]["keys"])


def test_the_training_free_one_learns_nothing(make_trainer, tmp_path):
    trainer = make(make_trainer, "tipadapter")
    trainer.train()
    assert trainer.n_params == 0 and trainer.record().weights["learnable_parameters"] == 0
    assert np.isfinite(trainer.model.prompt_learner.keys.detach().numpy()).all()


def test_the_published_training_is_the_authors(make_trainer):
    """Each pass with its last batch, and a rate that falls with each step along a cosine over all of them."""
    for name, epochs in (("vit_b16_ep20_batch256", 20), ("vit_b16_ep100_batch256", 100)):
        cfg = get_cfg_default()
        merge_file(cfg, str(REPOSITORY / f"configs/trainers/TipAdapterF/{name}.yaml"))
        assert (cfg.OPTIM.MAX_EPOCH, cfg.OPTIM.LR, cfg.OPTIM.MIN_LR) == (epochs, 0.001, 0.0)
        assert (cfg.DATALOADER.TRAIN_X.DROP_LAST, cfg.OPTIM.LR_STEP, cfg.OPTIM.WARMUP_EPOCH) == (False, "iteration", -1)
    options = ("DATALOADER.TRAIN_X.DROP_LAST", False, "DATALOADER.TRAIN_X.BATCH_SIZE", 7, "OPTIM.LR", 0.001)
    options += ("OPTIM.LR_STEP", "iteration", "OPTIM.WARMUP_EPOCH", -1)
    trainer = make(make_trainer, "tipadapter_f", *options)
    rates, step = [], trainer.precision.step
    trainer.precision.step = lambda optim: (rates.append(optim.param_groups[0]["lr"]), step(optim))
    trainer.train()
    total = 3 * 6  # 36 images in batches of 7
    assert rates == pytest.approx([0.001 * (1 + math.cos(math.pi * t / total)) / 2 for t in range(total)])
