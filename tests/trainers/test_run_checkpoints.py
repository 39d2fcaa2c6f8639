"""What is kept of a run, what it goes on from, and what it refuses to load; CoOp stands for all methods."""

import json

import pytest
import torch

from tests.tiny import TinyData
from trainers.prompting import checkpoint

OPTIONS = ("TRAINER.COOP.N_CTX", 4)


@pytest.fixture
def trained(make_trainer, tmp_path):
    """Folder of a finished run of 3 epochs."""
    make_trainer("CoOp", *OPTIONS, "TRAIN.CHECKPOINT_FREQ", 2).train()
    return str(tmp_path / "output")


@pytest.fixture
def rewrite(trained):
    """rewrite(change) applies a function to the dict in the last checkpoint."""

    def rewrite(change):
        path = checkpoint.path_of(trained + "/prompt_learner", 3)
        state = checkpoint.read(path)
        change(state)
        checkpoint.write(state, path)

    return rewrite


def without_records(state):
    """As written by an earlier version, and by import_checkpoint."""
    for key in ("settings", "data", "backbone", "classnames"):
        del state[key]


def test_checkpoint_frequency(trained):
    assert checkpoint.epochs_in(trained + "/prompt_learner") == [2, 3]


def test_load_epoch(make_trainer, trained):
    trainer = make_trainer("CoOp", *OPTIONS)
    trainer.load_model(trained)
    last = trainer.model.prompt_learner.ctx.clone()
    assert trainer.checkpoints.epoch == trainer.checkpoints.trained_epochs == 3
    trainer.load_model(trained, epoch=2)
    assert (trainer.checkpoints.epoch, trainer.checkpoints.trained_epochs) == (2, 3)
    assert not torch.equal(last, trainer.model.prompt_learner.ctx)
    with pytest.raises(FileNotFoundError, match="epoch 7 .*--load-epoch can be 2, 3"):
        trainer.load_model(trained, epoch=7)
    with pytest.raises(FileNotFoundError, match="No checkpoint below .*train first"):
        trainer.load_model(trained + "/nothing")


def test_checkpoint_of_another_shape(make_trainer, trained, rewrite):
    """Its settings tell, and if it does not say them, its shapes."""
    longer = ("CoOp", "TRAINER.COOP.N_CTX", 5)
    for shape in (
        "trained with TRAINER.COOP.N_CTX 4, but this run has 5",
        r"ctx is \(4, 64\) there and \(5, 64\) here",
    ):
        with pytest.raises(ValueError, match=shape):
            make_trainer(*longer).load_model(trained)
        with pytest.raises(ValueError, match=shape):
            make_trainer(*longer).train()
        if shape.startswith("trained"):
            rewrite(without_records)


def test_context_of_each_class_fits_no_other_classes(make_trainer, tmp_path):
    """Base and new have three classes each, so the shapes agree; shared contexts load."""
    options = ("CoOp", *OPTIONS, "TRAINER.COOP.CSC", True, "DATASET.SUBSAMPLE_CLASSES")
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
    options = ("CoOp", *OPTIONS, "MODEL.BACKBONE.NAME")
    make_trainer(*options, same).load_model(trained)
    for load in (lambda trainer: trainer.load_model(trained), lambda trainer: trainer.train()):
        with pytest.raises(ValueError, match=r"trained on backbone .*vit.pt, whose weights are not .*other.pt"):
            load(make_trainer(*options, other))


def test_finished_training_is_not_repeated(make_trainer, trained, capsys):
    before = checkpoint.read(trained + "/prompt_learner/model.pth.tar-3")["state_dict"]["ctx"]
    trainer = make_trainer("CoOp", *OPTIONS, "TRAIN.CHECKPOINT_FREQ", 2)
    trainer.train()
    assert torch.equal(trainer.model.prompt_learner.ctx, before)
    assert "3 of 3 epochs are done" in capsys.readouterr().out


def test_best_model_on_validation_data(make_trainer, tmp_path):
    trainer = make_trainer("CoOp", "TEST.FINAL_MODEL", "best_val")
    trainer.train()
    assert (tmp_path / "output" / "prompt_learner" / checkpoint.BEST).exists()
    fresh = make_trainer("CoOp", "TEST.FINAL_MODEL", "best_val")
    fresh.load_model(str(tmp_path / "output"))
    metrics = json.loads((tmp_path / "output" / "metrics.json").read_text())
    assert metrics["model_dir"] == "" and metrics["trained_epochs"] == metrics["max_epoch"] == 3
    best = checkpoint.read(str(tmp_path / "output" / "prompt_learner" / checkpoint.BEST))
    assert torch.equal(fresh.model.prompt_learner.ctx, best["state_dict"]["ctx"])
    fresh.val_loader = None
    with pytest.raises(ValueError, match="no validation split"):
        fresh.test(split="val")
    assert metrics["epoch"] == fresh.checkpoints.epoch == best["epoch"]


# ---- another experiment ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key, value, sentence",
    [
        ("OPTIM.LR", 0.5, "OPTIM.LR 0.002, but this run has 0.5"),
        ("INPUT.TRANSFORMS", ("normalize",), r"INPUT.TRANSFORMS \['random_re.*, but this run has \['normalize'\]"),
        ("TRAINER.COOP.CTX_INIT", "a photo of", "TRAINER.COOP.CTX_INIT '', but this run has 'a photo of'"),
        ("OPTIM.MAX_EPOCH", 4, "OPTIM.MAX_EPOCH 3, but this run has 4"),
    ],
)
def test_a_test_under_other_settings_of_training(make_trainer, trained, tmp_path, key, value, sentence):
    """It would put on record what the model was not trained with."""
    trainer = make_trainer("CoOp", *OPTIONS, key, value, output=tmp_path / "test")
    with pytest.raises(ValueError, match=f"was trained with {sentence}: give the test the config file and the KEY"):
        trainer.load_model(trained)


def test_what_a_test_may_change(make_trainer, trained, tmp_path):
    changed = ("DATASET.SUBSAMPLE_CLASSES", "new", "DATASET.TEMPLATE", "a {}", "TEST.PER_CLASS_RESULT", True, "SEED", 7)
    more = ("DATALOADER.TEST.BATCH_SIZE", 1, "TRAIN.PRINT_FREQ", 3)
    make_trainer("CoOp", *OPTIONS, *changed, *more, output=tmp_path / "test").load_model(trained)


@pytest.mark.parametrize("directory", ["OUTPUT_DIR", "RESUME"])
def test_resuming_another_experiment(make_trainer, trained, tmp_path, directory):
    elsewhere = {"RESUME": ("RESUME", trained), "OUTPUT_DIR": ()}[directory]
    output = tmp_path / "elsewhere" if elsewhere else tmp_path / "output"
    sentence = (
        rf'Checkpoint "{trained}/prompt_learner/model.pth.tar-3" was trained with OPTIM.LR 0.002, but this run has '
        rf'0.5: use another OUTPUT_DIR, or delete "{trained}" to start over \(in scripts: FORCE=1\).'
    )
    with pytest.raises(ValueError, match=sentence):
        make_trainer("CoOp", *OPTIONS, *elsewhere, "OPTIM.LR", 0.5, output=output).train()


def test_resuming_elsewhere_and_otherwise_is_the_same_experiment(make_trainer, trained):
    changed = ("DATALOADER.TEST.BATCH_SIZE", 5, "TRAIN.CHECKPOINT_FREQ", 1, "TEST.SPLIT", "val", "VERBOSE", False)
    trainer = make_trainer("CoOp", *OPTIONS, *changed)
    trainer.train()
    assert trainer.start_epoch == 3


def test_resuming_on_another_sample_of_images(make_trainer, trained, monkeypatch):
    monkeypatch.setattr(TinyData, "train_x", property(lambda self: self._train_x[::-1]))
    trainer = make_trainer("CoOp", *OPTIONS)
    with pytest.raises(
        ValueError, match='model.pth.tar-3" was trained on other images .*use another OUTPUT_DIR, or del'
    ):
        trainer.train()
    trainer.load_model(trained)  # what is tested is another question


def test_a_checkpoint_that_does_not_say_what_it_is_of(make_trainer, trained, rewrite, tmp_path):
    rewrite(without_records)
    trainer = make_trainer("CoOp", *OPTIONS, "OPTIM.LR", 0.5)
    trainer.train()
    assert trainer.start_epoch == 3
    tested = make_trainer("CoOp", *OPTIONS, output=tmp_path / "test")
    tested.load_model(trained)
    assert "model" not in tested.checkpoints.at_hand()


def test_an_imported_checkpoint_is_tested_but_not_resumed(make_trainer, trained, rewrite):
    def imported(state):
        for key in state.keys() - {"state_dict", "epoch"}:
            del state[key]

    rewrite(imported)
    trainer = make_trainer("CoOp", *OPTIONS)
    trainer.load_model(trained)
    with pytest.raises(
        ValueError, match='model.pth.tar-3" is an imported one, which can be tested but not resumed: use'
    ):
        trainer.train()


@pytest.mark.parametrize("number", ["nan", "inf"])
def test_a_checkpoint_that_is_not_finite(make_trainer, trained, rewrite, number):
    rewrite(lambda state: state["state_dict"]["ctx"][1, 2].fill_(float(number)))
    for load in (lambda trainer: trainer.load_model(trained), lambda trainer: trainer.train()):
        trainer = make_trainer("CoOp", *OPTIONS)
        before = trainer.model.prompt_learner.ctx.detach().clone()
        with pytest.raises(
            ValueError, match=r"model.pth.tar-3\" holds infinite or NaN weights \(ctx\): load an earlier"
        ):
            load(trainer)
        assert torch.equal(trainer.model.prompt_learner.ctx, before)
    trainer.load_model(trained, epoch=2)
