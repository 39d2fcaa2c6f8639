import os
import re

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dassl.engine import TrainerBase, build_trainer
from dassl.utils import load_checkpoint, set_random_seed


def trained(cfg, epochs=None):
    """The trainer after a run, from a fixed random state."""
    set_random_seed(1)
    trainer = build_trainer(cfg)
    if epochs is not None:
        trainer.max_epoch = epochs  # stops here; the schedule stays that of the whole run
    trainer.train()
    return trainer


def weights(trainer):
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


def folder(cfg):
    return os.path.join(cfg.OUTPUT_DIR, "toy")


# ---------------------------------------------------------------- log
def test_log_of_a_run(cfg, capsys):
    cfg.TRAIN.PRINT_FREQ = 2
    trained(cfg)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Loading trainer: ToyTrainer"
    progress = [line for line in lines if line.startswith("epoch")]
    pattern = (
        r"epoch \[\d/3\] batch \[\d/4\] time \d\.\d{3} \(\d\.\d{3}\) data \d\.\d{3} \(\d\.\d{3}\) "
        r"loss \d+\.\d{4} \(\d+\.\d{4}\) acc \d+\.\d{4} \(\d+\.\d{4}\) lr \d\.\d{4}e-\d\d eta 0:00:0\d"
    )
    assert all(re.fullmatch(pattern, line) for line in progress), progress
    assert [line[:23] for line in progress] == [f"epoch [{e}/3] batch [{b}/4]" for e in (1, 2, 3) for b in (2, 4)]
    assert [re.search(r"lr (\S+)", line).group(1) for line in progress[::2]] == [
        "1.0000e-05",
        "5.0000e-02",
        "3.7500e-02",
    ]
    tail = lines[lines.index("Finish training") :]
    assert tail[1:4] == ["Deploy the last-epoch model", "Evaluate on the *test* set", "=> result"]
    assert tail[4] == "* total: 8" and re.fullmatch(r"\* accuracy: [\d.]+%", tail[6])
    assert re.fullmatch(r"Elapsed: 0:00:\d\d", tail[-1])


def test_an_epoch_shorter_than_the_print_period_prints_every_batch(cfg, capsys):
    cfg.OPTIM.MAX_EPOCH = 1
    trained(cfg)
    assert capsys.readouterr().out.count("epoch [1/1] batch") == 4


def test_curves(cfg):
    trainer = trained(cfg)
    events = EventAccumulator(os.path.join(cfg.OUTPUT_DIR, "tensorboard"))
    events.Reload()
    assert {"train/loss", "train/acc", "train/lr", "test/accuracy", "test/macro_f1"} <= set(events.Tags()["scalars"])
    assert [point.step for point in events.Scalars("train/loss")] == list(range(12))
    assert events.Scalars("test/accuracy")[0].value == pytest.approx(trainer.test())


# ---------------------------------------------------------------- hooks
def test_hooks_run_in_dassls_order(monkeypatch):
    trainer, calls = TrainerBase(), []
    for hook in ("after_train", "before_epoch", "run_epoch", "after_epoch"):
        monkeypatch.setattr(trainer, hook, lambda hook=hook: calls.append(f"{hook} {trainer.epoch}"))
    monkeypatch.setattr(trainer, "before_train", lambda: setattr(trainer, "start_epoch", 1))  # as a resumed run does
    trainer.train(0, 3)
    assert calls == [f"{hook} {epoch}" for epoch in (1, 2) for hook in ("before_epoch", "run_epoch", "after_epoch")] + [
        "after_train 2"
    ]


def test_models_are_registered_by_name():
    trainer = TrainerBase()
    model = torch.nn.Linear(1, 1)
    trainer.register_model("a", model)
    trainer.set_model_mode("eval")
    assert not model.training
    trainer.set_model_mode("train", "a")
    assert model.training
    trainer.update_lr()  # without schedule or optimiser nothing happens
    trainer.model_update()
    trainer.model_zero_grad()
    with pytest.raises(ValueError, match='"a" is already registered'):
        trainer.register_model("a", model)
    with pytest.raises(ValueError, match='no model named "b" is registered; known: a'):
        trainer.get_model_names("b")
    with pytest.raises(KeyError):
        trainer.set_model_mode("trian")


# ---------------------------------------------------------------- checkpoints
@pytest.mark.parametrize("frequency, epochs", [(0, [3]), (2, [2, 3])])
def test_which_epochs_are_saved(cfg, frequency, epochs):
    cfg.TRAIN.CHECKPOINT_FREQ = frequency
    trained(cfg)
    assert sorted(os.listdir(folder(cfg))) == ["checkpoint", *(f"model.pth.tar-{epoch}" for epoch in epochs)]
    state = load_checkpoint(os.path.join(folder(cfg), "model.pth.tar-3"))
    assert set(state) == {"state_dict", "epoch", "optimizer", "scheduler", "val_result"}
    assert state["epoch"] == 3


def test_stopped_and_resumed_equals_straight(cfg, tmp_path, capsys):
    cfg.TRAIN.CHECKPOINT_FREQ = 1
    cfg.INPUT.TRANSFORMS = ("normalize",)
    cfg.DATALOADER.TRAIN_X.SAMPLER = "SequentialSampler"  # no randomness but the first weights
    straight = trained(cfg)

    cfg.OUTPUT_DIR = str(tmp_path / "stopped")
    trained(cfg, epochs=1)
    capsys.readouterr()
    torch.manual_seed(99)
    resumed = build_trainer(cfg)
    resumed.train()
    out = capsys.readouterr().out
    assert "will resume training" in out and "epoch [1/3]" not in out and "epoch [2/3]" in out
    assert torch.equal(weights(resumed), weights(straight))


def test_a_folder_without_pointer_starts_from_scratch(cfg, capsys):
    os.makedirs(folder(cfg))  # killed before its first checkpoint was complete
    trained(cfg)
    assert "No checkpoint found, train from scratch" in capsys.readouterr().out


def test_load_model(cfg, tmp_path, capsys):
    cfg.TRAIN.CHECKPOINT_FREQ = 2
    finished = trained(cfg)
    other = build_trainer(cfg)
    other.load_model(cfg.OUTPUT_DIR, epoch=3)
    assert torch.equal(weights(other), weights(finished))
    assert "epoch=3, val_result=none" in capsys.readouterr().out
    other.load_model("")
    assert "load_model() is skipped" in capsys.readouterr().out
    with pytest.raises(FileNotFoundError, match=r'no checkpoint of epoch 7 in ".*toy": .* of epochs 2, 3 '):
        other.load_model(cfg.OUTPUT_DIR, epoch=7)
    with pytest.raises(FileNotFoundError, match="no best model .* it has checkpoints of epochs 2, 3"):
        other.load_model(cfg.OUTPUT_DIR)
    with pytest.raises(FileNotFoundError, match="it has no checkpoints"):
        other.load_model(str(tmp_path / "nowhere"))


# ---------------------------------------------------------------- model selection and tests
def test_best_val_deploys_the_best_epoch(cfg, monkeypatch, capsys):
    cfg.TEST.FINAL_MODEL = "best_val"
    cfg.OPTIM.MAX_EPOCH = 4
    trainer = build_trainer(cfg)
    results = iter([10.0, 30.0, 20.0, 30.0])
    tested = []
    monkeypatch.setattr(trainer, "test", lambda split=None: tested.append(split) or next(results, 0.0))
    trainer.train()
    assert tested == ["val"] * 4 + [None]
    best = load_checkpoint(os.path.join(folder(cfg), "model-best.pth.tar"))
    assert (best["epoch"], best["val_result"]) == (2, 30.0)
    assert torch.equal(trainer.model.state_dict()["1.bias"], best["state_dict"]["1.bias"])
    assert "Deploy the model with the best val performance" in capsys.readouterr().out

    again = build_trainer(cfg)
    assert again.resume_model_if_exist(cfg.OUTPUT_DIR) == 4
    assert again.best_result == 30.0


def test_splits(cfg, capsys):
    trainer = build_trainer(cfg)
    for split, said in ("val", "val* set\n=> result\n* total: 4"), ("test", "test* set\n=> result\n* total: 8"):
        trainer.test(split=split)
        assert f"Evaluate on the *{said}\n" in capsys.readouterr().out
    trainer.val_loader, trainer.test_loader = None, list(trainer.test_loader)  # anything that gives batches
    trainer.test(split="val")
    assert "Evaluate on the *test* set\n=> result\n* total: 8\n" in capsys.readouterr().out


def test_no_test(cfg, capsys):
    cfg.TEST.NO_TEST = True
    cfg.OPTIM.MAX_EPOCH = 1
    trained(cfg)
    assert "Evaluate" not in capsys.readouterr().out


def test_testing_leaves_no_gradients(cfg):
    trainer = build_trainer(cfg)
    trainer.test()
    assert not trainer.model.training
    assert all(p.grad is None for p in trainer.model.parameters())


# ---------------------------------------------------------------- errors
def test_non_finite_loss_stops_before_the_step(cfg):
    trainer = build_trainer(cfg)
    before = weights(trainer)
    trainer.epoch, trainer.batch_idx = 1, 2
    with pytest.raises(FloatingPointError, match="infinite or NaN in epoch 2, batch 3: lower OPTIM.LR"):
        trainer.model_backward_and_update(sum(p.sum() for p in trainer.model.parameters()) * float("nan"))
    assert torch.equal(weights(trainer), before)
