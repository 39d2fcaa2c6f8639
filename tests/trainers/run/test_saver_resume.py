"""What a run goes on from: its own checkpoints, those of --resume, damaged and hand-made ones; CoOp stands for all."""

import copy
import errno
import os
import random

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.data import default_collate

from tests.built import OPTIONS
from tests.conftest import raiser
from tests.tiny import TinyData
from trainers.errors import MissingFile, UserError
from trainers.random_state import random_state, set_random_state
from trainers.run import checkpoint

EVERY_EPOCH = (*OPTIONS, "TRAIN.CHECKPOINT_FREQ", 1)


class Killed(Exception):
    pass


@pytest.fixture
def killed(make_trainer, monkeypatch):
    """killed(n, KEY, value, ..., output=) is killed in the epoch behind n finished ones; returns its folder."""

    def run(n, *options, output):
        trainer = make_trainer("CoOp", *EVERY_EPOCH, *options, output=output)

        def die(batch):
            if trainer.epoch == n:
                raise Killed
            return type(trainer).forward_backward(trainer, batch)

        monkeypatch.setattr(trainer, "forward_backward", die)
        with pytest.raises(Killed):
            trainer.train()
        return str(output)

    return run


def learner(folder, epoch):
    return checkpoint.path_of(os.path.join(folder, "prompt_learner"), epoch)


def ctx_of(path):
    return checkpoint.read(path)["state_dict"]["ctx"]


def cut(path):
    with open(path, "r+b") as f:
        f.truncate(os.path.getsize(path) // 2)


# ---- another experiment ------------------------------------------------------------------------------------


@pytest.mark.parametrize("directory", ["OUTPUT_DIR", "RESUME"])
@pytest.mark.parametrize(
    "key, theirs, ours",
    [
        ("OPTIM.LR", 0.002, 0.5),
        ("OPTIM.MAX_EPOCH", 3, 4),
        ("SEED", 1, 2),
        ("DATASET.SUBSAMPLE_CLASSES", "'all'", "new"),
    ],
)
def test_resuming_another_experiment(make_trainer, trained, tmp_path, directory, key, theirs, ours):
    elsewhere = {"RESUME": ("RESUME", trained), "OUTPUT_DIR": ()}[directory]
    output = tmp_path / "elsewhere" if elsewhere else tmp_path / "output"
    path = f"{trained}/prompt_learner/model.pth.tar-3"
    remedy = {
        "OUTPUT_DIR": "use another OUTPUT_DIR, where MODEL.INIT_WEIGHTS can start from its prompts, or delete "
        rf'"{trained}" to start over \(in scripts: FORCE=1\)\.',
        "RESUME": f"--resume goes on with the same experiment; MODEL.INIT_WEIGHTS {path} starts a new one from there.",
    }[directory]
    sentence = rf'Checkpoint "{path}" was trained with {key} {theirs}, but this run has {ours!r}: {remedy}'
    with pytest.raises(ValueError, match=sentence):
        make_trainer("CoOp", *OPTIONS, *elsewhere, key, ours, output=output).train()
    assert not (tmp_path / "elsewhere" / "prompt_learner").exists()


def test_resuming_elsewhere_and_otherwise_is_the_same_experiment(make_trainer, trained):
    changed = ("DATALOADER.TEST.BATCH_SIZE", 5, "TRAIN.CHECKPOINT_FREQ", 1, "TEST.SPLIT", "val", "VERBOSE", False)
    trainer = make_trainer("CoOp", *OPTIONS, *changed)
    trainer.train()
    assert trainer.start_epoch == 3


def test_resuming_on_another_sample_of_images(make_trainer, trained, monkeypatch):
    init = TinyData.__init__

    def other(self, cfg):
        init(self, cfg)
        self.train_x = self.train_x[::-1]

    monkeypatch.setattr(TinyData, "__init__", other)
    trainer, kept = make_trainer("CoOp", *OPTIONS), []
    trainer.dm.dataset.keep_sample = lambda: kept.append(1)
    with pytest.raises(
        ValueError, match='model.pth.tar-3" was trained on other images .*use another OUTPUT_DIR, where .*, or del'
    ):
        trainer.train()
    assert not kept  # the stored sample is not replaced
    trainer.load_model(trained)  # what is tested is another question


# ---- --resume ----------------------------------------------------------------------------------------------


def test_resumed_elsewhere_it_goes_on_from_its_own(make_trainer, killed, tmp_path):
    whole = make_trainer("CoOp", *EVERY_EPOCH, output=tmp_path / "whole")
    whole.train()
    earlier = killed(1, output=tmp_path / "earlier")
    before = sorted(os.listdir(earlier + "/prompt_learner"))
    killed(2, "RESUME", earlier, output=tmp_path / "later")  # trains epoch 2
    assert not os.path.exists(learner(str(tmp_path / "later"), 1))
    trainer = make_trainer("CoOp", *EVERY_EPOCH, "RESUME", earlier, output=tmp_path / "later")
    trainer.train()
    assert trainer.start_epoch == 2 and sorted(os.listdir(earlier + "/prompt_learner")) == before
    assert torch.equal(trainer.model.prompt_learner.ctx, whole.model.prompt_learner.ctx)
    os.rename(earlier, earlier + ".gone")  # it is no more needed
    make_trainer("CoOp", *EVERY_EPOCH, "RESUME", earlier, output=tmp_path / "later").train()


@pytest.mark.parametrize("folder", ["nowhere", ".", "output/prompt_learner"])
def test_resuming_from_a_folder_without_checkpoints(make_trainer, trained, tmp_path, folder):
    trainer = make_trainer("CoOp", *OPTIONS, "RESUME", str(tmp_path / folder), output=tmp_path / "new")
    with pytest.raises(MissingFile, match=rf'no checkpoint to resume from in "{tmp_path}.*": correct --resume'):
        trainer.train()
    assert not (tmp_path / "new" / "prompt_learner").exists()


def test_the_best_model_comes_along(make_trainer, killed, tmp_path, monkeypatch):
    """Epoch 1 is the best, epoch 2 is trained in the other folder: what is announced as best is loaded."""
    results = iter([60.0, 50.0, 40.0])
    monkeypatch.setattr("dassl.evaluation.evaluator.Classification.evaluate", lambda self: {"accuracy": next(results)})
    options = ("TEST.FINAL_MODEL", "best_val")
    earlier = killed(1, *options, output=tmp_path / "earlier")
    killed(2, *options, "RESUME", earlier, output=tmp_path / "later")
    best = tmp_path / "later" / "prompt_learner" / checkpoint.BEST
    assert torch.equal(ctx_of(str(best)), ctx_of(learner(earlier, 1)))
    results = iter([40.0, 99.0])  # of epoch 3, and of the test
    trainer = make_trainer("CoOp", *EVERY_EPOCH, *options, "RESUME", earlier, output=tmp_path / "later")
    trainer.train()
    assert trainer.checkpoints.at.epoch == 1 and trainer.best_result == 60.0
    assert torch.equal(trainer.model.prompt_learner.ctx, ctx_of(learner(earlier, 1)))


def test_a_best_model_newer_than_what_is_gone_on_from(make_trainer, killed, tmp_path, monkeypatch):
    """Its epoch is trained again, and would have to be better to take its place."""
    results = iter([10.0, 70.0])
    monkeypatch.setattr("dassl.evaluation.evaluator.Classification.evaluate", lambda self: {"accuracy": next(results)})
    options = ("TEST.FINAL_MODEL", "best_val")
    folder = killed(2, *options, output=tmp_path / "run")
    cut(learner(folder, 2))
    results = iter([69.0, 69.0, 99.0])
    trainer = make_trainer("CoOp", *EVERY_EPOCH, *options, output=folder)
    trainer.train()
    assert trainer.start_epoch == 1 and trainer.best_result == 70.0 and trainer.checkpoints.at.epoch == 2


def test_a_best_model_that_is_lost(make_trainer, killed, tmp_path, capsys):
    options = ("TEST.FINAL_MODEL", "best_val")
    folder = killed(2, *options, output=tmp_path / "run")
    best = tmp_path / "run" / "prompt_learner" / checkpoint.BEST
    cut(best)
    make_trainer("CoOp", *EVERY_EPOCH, *options, output=folder).train()
    said = capsys.readouterr().out
    assert f"Checkpoint {best} is damaged and passed over; it is now {best}.damaged" in said
    assert f"the best model so far, {best}, is lost: the best is chosen among the epochs that follow" in said
    assert checkpoint.read(str(best))["epoch"] == 3


# ---- damaged, unreadable, somebody else's ------------------------------------------------------------------


def test_a_damaged_checkpoint_is_kept_and_its_epoch_saved_anew(make_trainer, killed, tmp_path, capsys):
    folder = killed(2, output=tmp_path / "run")
    path = learner(folder, 2)
    whole = ctx_of(path)
    for name in (f"{path}.damaged", f"{path}.damaged-2"):
        cut(path)
        capsys.readouterr()
        killed(2, output=tmp_path / "run")
        assert f"Checkpoint {path} is damaged and passed over; it is now {name}\n" in capsys.readouterr().out
        assert os.path.exists(name) and torch.equal(ctx_of(path), whole)


def test_if_all_are_damaged_the_run_starts_over(make_trainer, killed, tmp_path):
    folder = killed(2, output=tmp_path / "run")
    for epoch in (1, 2):
        cut(learner(folder, epoch))
    trainer = make_trainer("CoOp", *EVERY_EPOCH, output=folder)
    trainer.train()
    assert trainer.start_epoch == 0 and checkpoint.epochs_in(folder + "/prompt_learner") == [1, 2, 3]


def unreadable(path, monkeypatch):
    real = open

    def refuse(file, *args, **kwargs):
        if file == path:
            raise OSError(errno.EIO, "Input/output error", path)
        return real(file, *args, **kwargs)

    monkeypatch.setattr("builtins.open", refuse)


def folder_in_its_place(path, monkeypatch):
    os.remove(path)
    os.mkdir(path)


def foreign(path, monkeypatch):
    torch.save({"model": torch.nn.Linear(2, 2)}, path)


def tensor(path, monkeypatch):
    torch.save(torch.zeros(3), path)


@pytest.mark.parametrize("spoil", [unreadable, folder_in_its_place, foreign, tensor])
def test_what_is_not_damaged_stops_the_run_and_stays(make_trainer, killed, tmp_path, monkeypatch, spoil):
    folder = killed(2, output=tmp_path / "run")
    spoil(learner(folder, 2), monkeypatch)
    before = sorted(os.listdir(folder + "/prompt_learner"))
    trainer = make_trainer("CoOp", *EVERY_EPOCH, output=folder)
    for load in (trainer.train, lambda: trainer.load_model(folder)):
        with pytest.raises(UserError, match='^Checkpoint ".*model.pth.tar-2" [^\n]*$') as raised:
            load()
        assert not {"delete", "remove", "damaged"} & set(str(raised.value).split())
    assert sorted(os.listdir(folder + "/prompt_learner")) == before and not os.path.exists(folder + "/metrics.json")


def test_a_log_and_curves_on_a_full_disk(make_trainer, monkeypatch):
    trainer = make_trainer("CoOp", *OPTIONS)
    monkeypatch.setattr(trainer, "write_scalar", raiser(OSError(errno.ENOSPC, "No space left on device")))
    for run in (trainer.train, trainer.test):
        with pytest.raises(UserError, match="cannot be written .No space left on device.: make room"):
            run()
    monkeypatch.setattr(trainer, "init_writer", raiser(PermissionError(errno.EACCES, "Permission denied", "curves")))
    with pytest.raises(UserError, match='"curves" cannot be written .Permission denied.: choose an OUTPUT_DIR'):
        trainer.train()


# ---- hand-made ---------------------------------------------------------------------------------------------

_WEIRD = [
    None,
    True,
    -1,
    10**9,
    float("nan"),
    "text",
    b"bytes",
    [],
    [1, "a"],
    {},
    {1: 2},
    {"a": 1},
    torch.tensor(float("nan")),
    torch.zeros(2, 3),
    torch.zeros(3, dtype=torch.int64),
    torch.zeros(2, dtype=torch.complex64),
    torch.zeros(2).to_sparse(),
    torch.zeros(2, device="meta"),
]


def _spots(value, path=()):
    """Paths of all entries of nested dicts and lists, long lists cut."""
    items = (
        value.items() if isinstance(value, dict) else enumerate(value[:6]) if isinstance(value, (list, tuple)) else ()
    )
    for key, entry in items:
        yield (*path, key)
        yield from _spots(entry, (*path, key))


def _listed(value):
    """With lists for tuples, so that entries can be replaced."""
    if isinstance(value, dict):
        return {key: _listed(entry) for key, entry in value.items()}
    return [_listed(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def _mutate(state, spot, change, weird):
    *way, key = spot
    for step in way:
        state = state[step]
    value = state[key]
    if change == "drop":
        del state[key]
    elif change == "rename" and isinstance(state, dict):
        state[7] = state.pop(key)
    elif isinstance(value, torch.Tensor) and change in ("shape", "dtype", "nan"):
        changes = {
            "shape": lambda t: t.unsqueeze(0).repeat(2, *[1] * t.dim()),
            "dtype": lambda t: t.long() if t.is_floating_point() else t.double(),
            "nan": lambda t: torch.full_like(t.double(), float("nan")),
        }
        state[key] = changes[change](value)
    else:
        state[key] = copy.deepcopy(weird)


@pytest.mark.parametrize(
    "method",
    [("CoOp", "OPTIM.NAME", "adam"), pytest.param(("SEP", "OPTIM.NAME", "sgd"), marks=pytest.mark.long)],
)
def test_hand_made_checkpoints_end_in_a_sentence(make_trainer, tmp_path, method):
    """Or are as good as ours: then a training step from there works."""
    trainer = make_trainer(*method, "OPTIM.MAX_EPOCH", 1, "TEST.NO_TEST", True)
    trainer.train()
    folder, path = str(tmp_path / "output"), learner(str(tmp_path / "output"), 1)
    original = _listed(checkpoint.read(path))
    spots = sorted(_spots(original), key=str)
    batch = default_collate([trainer.train_loader_x.dataset[i] for i in range(0, 36, 5)])
    before = random_state()

    @settings(max_examples=100, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(spots), st.sampled_from(["drop", "rename", "shape", "dtype", "nan", "weird"]), st.data())
    def check(spot, change, data):
        state = copy.deepcopy(original)
        _mutate(state, spot, change, data.draw(st.sampled_from(_WEIRD)))
        torch.save(state, path)
        for load in (trainer.resume_model_if_exist, trainer.load_model):
            set_random_state(before)
            try:
                load(folder)
                trainer.forward_backward(batch)
                random.gauss(0, 1)
            except UserError as error:
                assert "\n" not in str(error) and str(error).endswith(".") and "model.pth.tar-1" in str(error)

    try:
        check()
    finally:
        set_random_state(before)
