import json
import os
from types import SimpleNamespace

import pytest
import yaml
from yacs.config import CfgNode

from harness.errors import UserError
from harness.running.claim import Claim, claim, refuse_loaded

SETTINGS = {"OPTIM.LR": 0.1, "SEED": 1}
FINISHED = {"settings": SETTINGS, "split": "test", "accuracy": 50.0, "trained_epochs": 2, "max_epoch": 2}


@pytest.fixture
def claimed(tmp_path):
    """claimed(record, settings, ...) -> the Claim of tmp_path / run, which holds that record."""

    def call(record=None, settings=SETTINGS, trained=False, eval_only=False, model_dir="", no_train=False, **test):
        folder = tmp_path / "run"
        (folder / "prompt_learner").mkdir(parents=True, exist_ok=True)
        if trained:
            (folder / "prompt_learner/model.pth.tar-2").touch()
        if record:
            (folder / "metrics.json").write_text(json.dumps(record))
        asked = dict.fromkeys(("NO_TEST", "SAVE_PREDICTIONS", "COMPUTE_CMAT", "PER_CLASS_RESULT"), False)
        asked.update(SPLIT="test", REMEDIES=[])
        backbone = SimpleNamespace(BACKBONE=SimpleNamespace(NAME=str(tmp_path / "clip.pt")))
        cfg = SimpleNamespace(MODEL=backbone, OUTPUT_DIR=str(folder), TEST=SimpleNamespace(**{**asked, **test}))
        args = SimpleNamespace(eval_only=eval_only, model_dir=str(model_dir), no_train=no_train)
        return claim(args, cfg, lambda: settings, lambda: "those of today")

    return call


def test_an_empty_folder_is_free_and_a_finished_training_is_not_done_again(claimed):
    assert claimed() == Claim({}, is_free=True)
    assert claimed(trained=True) == Claim({}, is_free=False)  # it goes on
    assert claimed(FINISHED) == Claim(FINISHED, is_free=False)
    assert claimed(settings={"SEED": 2}, no_train=True) == Claim({}, is_free=False)


def test_what_a_finished_training_has_not_left_is_made(claimed, tmp_path):
    for key in ("SAVE_PREDICTIONS", "COMPUTE_CMAT", "PER_CLASS_RESULT"):
        assert not claimed(FINISHED, trained=True, **{key: True}).finished
    assert not claimed(FINISHED, trained=True, REMEDIES=["dac"]).finished
    assert claimed({**FINISHED, "remedied": {"dac": {}}}, REMEDIES=["dac"]).finished
    (tmp_path / "run/predictions.npz").touch()
    assert claimed(FINISHED, SAVE_PREDICTIONS=True).finished
    untested = {key: FINISHED[key] for key in ("settings", "trained_epochs", "max_epoch")}
    assert not claimed(untested).finished and claimed(untested, NO_TEST=True).finished


def of_file(path, weights):
    found = os.stat(path)
    identity = [str(path), found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]
    return {**FINISHED, "backbone_weights": weights, "backbone_files": [identity]}


def test_a_finished_training_on_other_weights_under_the_same_name(claimed, tmp_path):
    path = tmp_path / "clip.pt"
    path.write_text("1")
    (tmp_path / "same.pt").write_text("1")
    before, of_another = of_file(path, "those of before"), of_file(tmp_path / "same.pt", "those of before")
    assert claimed(before).finished
    with pytest.raises(UserError, match="run holds the result of a run on other weights than .*clip.pt has now: use"):
        claimed(of_another)
    path.write_text("2")
    with pytest.raises(UserError, match="on other weights"):
        claimed(before)
    path.unlink()
    with pytest.raises(UserError, match="on other weights"):
        claimed(before)
    assert claimed({**before, "backbone_weights": "those of today"}).finished  # copied anew


def test_other_settings_are_refused_by_the_record_or_the_config(claimed, tmp_path):
    with pytest.raises(
        UserError, match="run holds the result of a run with OPTIM.LR 0.1 and SEED 1, but this one has 0.2 and 2:"
    ):
        claimed(FINISHED, {"OPTIM.LR": 0.2, "SEED": 2, "A.NEW.KEY": 3})
    (tmp_path / "run/metrics.json").unlink()
    (tmp_path / "run/config.yaml").write_text(yaml.safe_dump({"SEED": 1}))
    with pytest.raises(UserError, match="run holds checkpoints of a run with SEED 1, but this one has 2: use another"):
        claimed(None, {"SEED": 2}, trained=True)


def test_a_run_of_before_a_key_did_what_all_did_then(claimed):
    with pytest.raises(UserError, match="of a run with OPTIM.LR_STEP 'epoch', but this one has 'iteration'"):
        claimed(FINISHED, {**SETTINGS, "OPTIM.LR_STEP": "iteration"})
    assert claimed(FINISHED, {**SETTINGS, "OPTIM.LR_STEP": "epoch"}).finished


def test_another_model_is_refused(claimed, tmp_path):
    tested = {**FINISHED, "model_dir": str(tmp_path / "model")}
    (tmp_path / "model").mkdir()
    assert claimed(tested, eval_only=True, model_dir=tmp_path / "model") == Claim({}, is_free=True)
    for options in ({"eval_only": True, "model_dir": tmp_path / "other"}, {}):
        with pytest.raises(UserError, match=f"run holds the result of a test of {tmp_path}/model: use another"):
            claimed(tested, **options)
    with pytest.raises(UserError, match="run holds a training of its own: use another"):
        claimed(FINISHED, trained=True, eval_only=True, model_dir=tmp_path / "model")


# ---- a folder's row ----------------------------------------------------------------------------------------------

BASE = "base2new/train_base/shapes/shots_16/SEP/shapes/seed1"
CFG = {
    "TRAINER.NAME": "SEP",
    "SEED": 1,
    "DATASET.NAME": "Shapes",
    "DATASET.NUM_SHOTS": 16,
    "DATASET.SUBSAMPLE_CLASSES": "base",
}


@pytest.fixture
def asked(tmp_path):
    """asked(run's path below the output folder, model's path, change) claims that folder."""

    def call(path, model="", **change):
        cfg = CfgNode({"OUTPUT_DIR": str(tmp_path / path), **{**CFG, **change}})
        files = {"dataset_config_file": "configs/datasets/shapes.yaml", "config_file": "x/SEP/shapes.yaml"}
        files.update({key: change[key] for key in files.keys() & change.keys()})
        model = str(tmp_path / model) if model else ""
        return claim(SimpleNamespace(eval_only=bool(model), model_dir=model, no_train=False, **files), cfg, dict, str)

    return call


@pytest.mark.parametrize(
    "change",
    [
        {"TRAINER.NAME": "KgCoOp"},
        {"SEED": 5},
        {"DATASET.NAME": "MiniObjects"},
        {"DATASET.NUM_SHOTS": 4},
        {"DATASET.SUBSAMPLE_CLASSES": "all"},
        {"dataset_config_file": "configs/datasets/dtd.yaml"},
        {"config_file": "x/SEP/mine.yaml"},
    ],
)
def test_a_folder_of_the_layout_is_that_of_one_run(asked, change):
    assert asked(BASE).is_free and asked("elsewhere", **change).is_free
    with pytest.raises(UserError, match="seed1 is the folder of a run with the .*: give the same, or another --output"):
        asked(BASE, **change)


@pytest.mark.parametrize(
    "model",
    [
        BASE.replace("seed1", "seed2"),
        BASE.replace("SEP", "CoOp"),
        BASE.replace("_16", "_4"),
        BASE.replace("shapes/shots", "dtd/shots"),
        BASE.replace("SEP/shapes", "SEP/mine"),
        BASE.replace("SEP/shapes", "SEP/shapes@mine"),
        BASE.replace("base2new/train_base", "few_shot"),
    ],
)
def test_a_test_is_of_its_rows_model(asked, model):
    new, classes = BASE.replace("train_base", "test_new"), {"DATASET.SUBSAMPLE_CLASSES": "new"}
    assert asked(new, BASE, **classes).is_free and asked(new, f"moved/{BASE}", **classes).is_free
    assert asked("elsewhere", model, **classes).is_free
    with pytest.raises(UserError, match="The model in .* has the .* for a test of one with .*: give another"):
        asked(new, model, **classes)


def test_nothing_is_trained_in_the_place_of_a_test(asked):
    new, classes = BASE.replace("train_base", "test_new"), {"DATASET.SUBSAMPLE_CLASSES": "new"}
    with pytest.raises(UserError, match="is for a test of a model that was trained elsewhere: add --eval-only"):
        asked(new, **classes)
    untrained = new.replace("SEP", "ZeroshotCLIP")  # which the scripts only test
    assert asked(untrained, **classes, **{"TRAINER.NAME": "ZeroshotCLIP"}).is_free


def test_a_model_outside_the_layout_says_itself_what_it_is(asked, tmp_path):
    new, classes = BASE.replace("train_base", "test_new"), {"DATASET.SUBSAMPLE_CLASSES": "new"}
    (tmp_path / "model").mkdir()
    assert asked(new, "model", **classes).is_free
    for said in ({"seed": 2}, {"given": {"config": "mine"}}, {"subsample_classes": "all"}):
        (tmp_path / "model/metrics.json").write_text(json.dumps(said))
        with pytest.raises(UserError, match="The model in .*model has the "):
            asked(new, "model", **classes)
    folder = str(tmp_path / new)
    refuse_loaded(folder, "model", {**CFG, "OPTIM.LR": 1})
    refuse_loaded(folder, "model", None)  # of an earlier version
    for key, value in CFG.items():
        with pytest.raises(UserError, match="The model in model has the "):
            refuse_loaded(folder, "model", {**CFG, key: f"{value}1"})
