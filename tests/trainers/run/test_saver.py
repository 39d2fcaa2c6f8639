"""What is kept of a run, what it goes on from, and what it refuses to load; CoOp stands for all methods."""

import json
import os
import shutil

import pytest
import torch

from tests.built import OPTIONS
from trainers.errors import MissingFile, UserError
from trainers.run import checkpoint
from trainers.run.folder import RunFolder


def without_records(state):
    """As written by an earlier version, and by import_checkpoint."""
    for key in ("settings", "data", "backbone", "classnames"):
        del state[key]


def test_load_epoch(make_trainer, trained):
    trainer = make_trainer("CoOp", *OPTIONS)
    trainer.load_model(trained)
    last = trainer.model.prompt_learner.ctx.clone()
    assert trainer.checkpoints.at.epoch == trainer.checkpoints.at.trained_epochs == 3
    trainer.load_model(trained, epoch=2)
    assert (trainer.checkpoints.at.epoch, trainer.checkpoints.at.trained_epochs) == (2, 3)
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


@pytest.mark.parametrize("key", ["text_projection", "visual.proj", "visual.transformer.resblocks.0.ln_1.bias"])
def test_checkpoint_of_another_backbone(make_trainer, trained, weights, tmp_path, key):
    """The same shapes, other weights: the file's name does not matter, what is in it does."""
    state = torch.load(weights["vit"], weights_only=True)
    same, other = str(tmp_path / "same.pt"), str(tmp_path / "other.pt")
    torch.save(state, same)
    torch.save(dict(state, **{key: state[key] + 0.1}), other)
    options = ("CoOp", *OPTIONS, "MODEL.BACKBONE.NAME")
    make_trainer(*options, same).load_model(trained)
    for load in (lambda trainer: trainer.load_model(trained), lambda trainer: trainer.train()):
        with pytest.raises(
            ValueError, match=r"trained on backbone .*vit.pt, whose weights or activation are not .*other.pt"
        ):
            load(make_trainer(*options, other))


def test_a_checkpoint_of_before_all_weights_were_compared(make_trainer, trained, weights, tmp_path, capsys):
    """Of those, the text projection is, and one line says so."""
    path = next((tmp_path / "output/prompt_learner").glob("model.pth.tar-*"))
    saved = torch.load(path, weights_only=True)
    del saved["backbone"]["weights"], saved["backbone"]["files"]
    torch.save(saved, path)
    state, other = torch.load(weights["vit"], weights_only=True), str(tmp_path / "other.pt")
    torch.save(dict(state, **{"visual.proj": state["visual.proj"] + 0.1}), other)
    trainer = make_trainer("CoOp", *OPTIONS, "MODEL.BACKBONE.NAME", other)
    for _ in range(2):
        trainer.load_model(trained)
    assert capsys.readouterr().out.count("is of an earlier version, of whose backbone the text projection alone") == 1
    torch.save(dict(state, text_projection=state["text_projection"] + 0.1), other)
    with pytest.raises(UserError, match="whose weights or activation are not"):
        make_trainer("CoOp", *OPTIONS, "MODEL.BACKBONE.NAME", other).load_model(trained)


def test_pictures_that_changed_since(make_trainer, tmp_path):
    options = (
        "CoOp",
        *OPTIONS,
        "TRAIN.CHECKPOINT_FREQ",
        1,
        "TEST.NO_TEST",
        True,
        "DATASET.ROOT",
        str(tmp_path / "own"),
    )
    options += ("DATASET.NUM_SHOTS", 6)  # all there are
    make_trainer(*options).train()
    (tmp_path / "output/prompt_learner/model.pth.tar-3").unlink()
    picture = tmp_path / "own/tiny/train/2_1.png"
    os.utime(picture)
    make_trainer(*options)
    picture.write_bytes((picture.parent / "3_1.png").read_bytes())
    with pytest.raises(UserError, match="was trained on images that have changed since: "):
        make_trainer(*options).train()


def test_checkpoint_of_another_activation(make_trainer, trained):
    """The same file, which does not say what it is."""
    for load in (lambda trainer: trainer.load_model(trained), lambda trainer: trainer.train()):
        with pytest.raises(
            ValueError, match="whose weights or activation are not .*MODEL.BACKBONE.NAME and ACTIVATION"
        ):
            load(make_trainer("CoOp", *OPTIONS, "MODEL.BACKBONE.ACTIVATION", "gelu"))


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
    assert metrics["epoch"] == fresh.checkpoints.at.epoch == best["epoch"]
    (tmp_path / "output" / "prompt_learner" / checkpoint.BEST).unlink()
    with pytest.raises(MissingFile, match="No best model .*best_val asks for: test an epoch with --load-epoch .3., or"):
        fresh.load_model(str(tmp_path / "output"))  # the last is not what is announced
    fresh.load_model(str(tmp_path / "output"), epoch=3)


def test_the_last_model_that_is_lost_is_not_replaced_by_the_one_before(make_trainer, tmp_path):
    trainer = make_trainer("CoOp", *OPTIONS, "TRAIN.CHECKPOINT_FREQ", 1)
    trainer.train()
    folder, models = str(tmp_path / "output"), tmp_path / "output/prompt_learner"
    (models / "model.pth.tar-3").unlink()
    with pytest.raises(MissingFile, match="epoch 3, with which its training ended, is not in .*--load-epoch .1, 2."):
        trainer.load_model(folder)
    with pytest.raises(MissingFile, match="epoch 3, with which its training ended"):
        RunFolder(folder).model(trainer.dm.dataset.classnames, torch.device("cpu"))
    trainer.load_model(folder, epoch=2)
    assert not trainer.checkpoints.at_hand()["final_model"]
    (tmp_path / "output/metrics.json").unlink()  # then nothing says that there was another
    trainer.load_model(folder)
    assert trainer.checkpoints.at.epoch == 2 and trainer.checkpoints.at_hand()["final_model"]


def test_a_test_of_an_epoch_leads_to_that_model(make_trainer, tmp_path):
    make_trainer("CoOp", *OPTIONS, "TRAIN.CHECKPOINT_FREQ", 1).train()
    test = make_trainer("CoOp", *OPTIONS, output=tmp_path / "test")
    test.load_model(str(tmp_path / "output"), epoch=1)
    test.test()
    ctx = checkpoint.read(str(tmp_path / "output/prompt_learner/model.pth.tar-1"))["state_dict"]["ctx"]
    record = json.loads((tmp_path / "test/metrics.json").read_text())
    model, _ = RunFolder(str(tmp_path / "test")).model(record["classnames"], torch.device("cpu"))
    assert torch.equal(model.prompt_learner.ctx, ctx)


# ---- another experiment ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key, value, sentence",
    [
        ("OPTIM.LR", 0.5, "OPTIM.LR 0.002, but this run has 0.5"),
        ("INPUT.TRANSFORMS", ("normalize",), r"INPUT.TRANSFORMS \['random_re.*, but this run has \['normalize'\]"),
        ("TRAINER.COOP.CTX_INIT", "a photo of", "TRAINER.COOP.CTX_INIT '', but this run has 'a photo of'"),
        ("OPTIM.MAX_EPOCH", 4, "OPTIM.MAX_EPOCH 3, but this run has 4"),
        ("DATALOADER.TRAIN_X.BATCH_SIZE", 4, "DATALOADER.TRAIN_X.BATCH_SIZE 8, but this run has 4"),
    ],
)
def test_a_test_under_other_settings_of_training(make_trainer, trained, tmp_path, key, value, sentence):
    """It would put on record what the model was not trained with."""
    trainer = make_trainer("CoOp", *OPTIONS, key, value, output=tmp_path / "test")
    with pytest.raises(ValueError, match=f"was trained with {sentence}: give the test the config file and the KEY"):
        trainer.load_model(trained)


def test_what_a_test_may_change(make_trainer, trained, tmp_path):
    changed = ("DATASET.SUBSAMPLE_CLASSES", "new", "DATASET.TEMPLATE", "a {}", "TEST.PER_CLASS_RESULT", True, "SEED", 7)
    more = ("DATALOADER.TEST.BATCH_SIZE", 1, "TRAIN.PRINT_FREQ", 3, "TRAINER.SEP.W", 1.0)  # of another method
    make_trainer("CoOp", *OPTIONS, *changed, *more, output=tmp_path / "test").load_model(trained)


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


def test_a_damaged_checkpoint_is_not_tested_and_left_as_it_is(make_trainer, trained):
    path = checkpoint.path_of(trained + "/prompt_learner", 3)
    with open(path, "r+b") as f:
        f.truncate(1000)
    with pytest.raises(ValueError, match='model.pth.tar-3" is damaged .*: test another epoch with --load-epoch'):
        make_trainer("CoOp", *OPTIONS).load_model(trained)
    assert checkpoint.epochs_in(trained + "/prompt_learner") == [2, 3]


# ---- MODEL.INIT_WEIGHTS ------------------------------------------------------------------------------------


def test_a_new_experiment_starts_from_trained_prompts(make_trainer, trained, tmp_path):
    path = checkpoint.path_of(trained + "/prompt_learner", 2)
    options = (*OPTIONS, "OPTIM.LR", 1e-4, "OPTIM.MAX_EPOCH", 1, "DATASET.SUBSAMPLE_CLASSES", "base")
    trainer = make_trainer("CoOp", *options, "MODEL.INIT_WEIGHTS", path, output=tmp_path / "new")
    assert torch.equal(trainer.model.prompt_learner.ctx, checkpoint.read(path)["state_dict"]["ctx"])
    trainer.train()
    settings = json.loads((tmp_path / "new" / "metrics.json").read_text())["settings"]
    moved = str(tmp_path / "moved")
    shutil.copy(path, moved)
    make_trainer("CoOp", *options, "MODEL.INIT_WEIGHTS", moved, output=tmp_path / "new").train()  # the same weights
    assert settings["MODEL.INIT_WEIGHTS_CHECKSUM"] and "MODEL.INIT_WEIGHTS" not in settings
    shutil.copy(checkpoint.path_of(trained + "/prompt_learner", 3), moved)  # others under the same name
    for init in (("MODEL.INIT_WEIGHTS", moved), ()):
        with pytest.raises(ValueError, match="trained with MODEL.INIT_WEIGHTS_CHECKSUM"):
            make_trainer("CoOp", *options, *init, output=tmp_path / "new").train()


def test_class_buffers_of_forks_are_no_prompts(make_trainer, tmp_path):
    ctx = torch.ones(4, 64)
    checkpoint.write(
        {"state_dict": {"ctx": ctx, "token_prefix": torch.zeros(6, 1, 64)}, "epoch": 9}, f"{tmp_path}/file"
    )
    trainer = make_trainer("CoOp", *OPTIONS, "MODEL.INIT_WEIGHTS", f"{tmp_path}/file")
    assert torch.equal(trainer.model.prompt_learner.ctx, ctx)


@pytest.mark.parametrize(
    "options, sentence",
    [
        (
            ("MODEL.INIT_WEIGHTS", "{}/nowhere"),
            r"/nowhere \(MODEL.INIT_WEIGHTS\) cannot be read \(No such file or directory\): correct",
        ),
        (("MODEL.INIT_WEIGHTS", "{}"), r"cannot be read \(Is a directory\)"),
        (("TRAINER.COOP.N_CTX", 5), r"does not fit this model: ctx is \(4, 64\) there and \(5, 64\) here"),
        (("TRAINER.COOP.CSC", True, "DATASET.SUBSAMPLE_CLASSES", "new"), "a context for each of the 6 classes"),
    ],
)
def test_initial_weights_that_do_not_fit(make_trainer, trained, tmp_path, options, sentence):
    init = ("MODEL.INIT_WEIGHTS", checkpoint.path_of(trained + "/prompt_learner", 3))
    options = [option.format(trained) if isinstance(option, str) else option for option in options]
    with pytest.raises(ValueError, match=sentence):
        make_trainer("CoOp", *OPTIONS, *init, *options, output=tmp_path / "new")
