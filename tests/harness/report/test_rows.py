"""A row is what its folder says, and a test's is of its model's row, whatever says otherwise."""

import json
import os

import pytest

from harness.report.runs import find_runs
from harness.report.unmix import unmix
from tests.harness.runs import finish, run_dir

ROW = {"TRAINER.NAME": "SEP", "SEED": 1, "DATASET.NUM_SHOTS": 16, "DATASET.NAME": "Shapes"}
OTHERS = {
    "seed": ({"seed": 2}, {"SEED": 2}),
    "shots": ({"shots": 4}, {"DATASET.NUM_SHOTS": 4}),
    "trainer": ({"trainer": "CoOp"}, {"TRAINER.NAME": "CoOp"}),
    "data set": ({"dataset": "dtd"}, {"DATASET.NAME": "DescribableTextures"}),
    "config": ({"cfg": "mine"}, None),
    "variant": ({"cfg": "shapes@mine"}, None),
}


def result_of(output, part, model_dir, settings=None, **more):
    record = {"model_dir": str(model_dir), "model": {"fingerprint": "", "epoch": 1, "settings": settings or {}}, **more}
    path = finish(output, part, 1, 60.0, record=record)
    runs, warnings = find_runs(output)
    (run,) = [run for run in runs if run.folder == str(path.parent)]
    return run, [warning for warning in warnings if str(path) in warning]


def model_of(output, part, **other):
    return run_dir(output, {"new": "base", "target": "source"}.get(part, part), **{"seed": 1, **other})


@pytest.mark.parametrize("part", ["base", "new", "target"])
@pytest.mark.parametrize("what", OTHERS)
def test_a_model_of_another_row(tmp_path, part, what):
    place, settings = OTHERS[what]
    own = {"DATASET.SUBSAMPLE_CLASSES": "all" if part == "target" else "base", **ROW}
    assert result_of(tmp_path, part, model_of(tmp_path / "moved", part), own)[0].accuracy == 60
    if part == "target" and what == "data set":  # a target's model is another's, and the column's heading says whose
        assert result_of(tmp_path, part, model_of(tmp_path, part, **place), {**own, **settings})[0].source == "dtd"
        return
    run, (warning,) = result_of(tmp_path, part, model_of(tmp_path, part, **place), own)
    assert run.accuracy is None and "tested a model of the " in warning and what.split()[-1] in warning
    if settings:  # a model elsewhere: its checkpoint says what it is of
        elsewhere = "/my/xd/train/x" if part == "target" else "/my/models/x"
        run, (warning,) = result_of(tmp_path, part, elsewhere, {**own, **settings})
        assert run.accuracy is None


def test_a_model_of_other_classes_or_another_protocol(tmp_path):
    for part, model in (
        ("new", "few_shot"),
        ("target", "base"),
        ("base", "source"),
        ("few_shot", "base"),
        ("new", "new"),
    ):
        run, (warning,) = result_of(tmp_path, part, run_dir(tmp_path, model, 1))
        assert run.accuracy is None


def test_a_models_own_record_counts_where_it_lies_outside_the_layout(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/metrics.json").write_text(json.dumps({"seed": 2, "trainer": "SEP"}))
    run, (warning,) = result_of(tmp_path / "output", "new", tmp_path / "model")
    assert run.accuracy is None and 'a model of the seed "2", not "1"' in warning


def test_a_model_that_was_trained_in_the_place_of_a_test(tmp_path):
    trained = {"epoch": 3, "trained_epochs": 3, "max_epoch": 3, "model_dir": ""}
    for trainer, accuracy in (("SEP", None), ("ZeroshotCLIP", 60), ("PromptKD", 60), ("Mine", 60)):
        part = "target" if trainer == "PromptKD" else "new"  # which is trained on targets
        finish(tmp_path / trainer, part, 1, 60, record={**trained, "trainer": trainer}, trainer=trainer)
        (run,), warnings = find_runs(tmp_path / trainer)
        assert run.accuracy == accuracy and len(warnings) == (accuracy is None)


# ---- the epoch -----------------------------------------------------------------------------------------------


def test_an_epoch_on_the_way_is_no_result(tmp_path):
    for seed, epoch in ((1, 1), (2, 50)):
        record = {"epoch": epoch, "trained_epochs": 50, "max_epoch": 50, "model_dir": "/elsewhere"}
        path = finish(tmp_path, "new", seed, 73.0 + seed, record=record)
    runs, (warning,) = find_runs(tmp_path)
    assert {run.seed: run.accuracy for run in runs} == {1: None, 2: 75.0}
    assert "is of a model of epoch 1 of 50, with which its training does not end" in warning
    finish(tmp_path, "new", 2, 75.0, record={**record, "epoch": 3, "trained_epochs": 3})
    assert "of epoch 3 of 50" in find_runs(tmp_path)[1][1] and str(path) in find_runs(tmp_path)[1][1]


@pytest.mark.parametrize("settings", [None, {"OPTIM.LR": 0.1}])
def test_seeds_of_other_epochs_are_not_averaged(tmp_path, settings):
    """Where nothing says at which epoch the training ended."""
    for seed in (1, 2):
        finish(tmp_path, "new", seed, 75.0, settings=settings, record={"epoch": seed})
    runs, (note,) = unmix(find_runs(tmp_path)[0])
    assert [run.accuracy for run in runs] == [None, None]
    assert "the epoch of its model is 1 in seed 1, 2 in seed 2, so these are not averaged" in note


def test_the_best_models_epoch_is_that_of_its_training(tmp_path):
    best = {"trained_epochs": 50, "max_epoch": 50, "model_dir": ""}
    settings = {"TEST.FINAL_MODEL": "best_val"}
    for seed, epoch, tested in ((1, 12, 12), (2, 30, 30), (3, 41, 1)):
        finish(tmp_path, "base", seed, 80.0, settings=settings, record={"epoch": epoch, **best})
        record = {"epoch": tested, **best, "model_dir": "/elsewhere"}
        finish(tmp_path, "new", seed, 70.0, settings=settings, record=record)
    runs, (note,) = unmix(find_runs(tmp_path)[0])
    assert [(run.part, run.seed) for run in runs if run.accuracy is None] == [("new", 3)]
    assert "seed 3: the epoch of its model is 1 in the test, but 41 in the training" in note


# ---- logs of forks -------------------------------------------------------------------------------------------

LOG = """** Arguments **
model_dir: output/base2new/train_base/shapes/shots_16/SEP/shapes/seed{seed}
  FINAL_MODEL: {final}
  MAX_EPOCH: 5
Loading weights to prompt_learner from "x" (epoch = {epoch})
Evaluate on the *test* set
=> result
* accuracy: {accuracy}%
"""


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({}, None),
        ({"seed": 2}, 'a model of the seed "2"'),
        ({"epoch": 1}, "of epoch 1 of 5"),
        ({"epoch": 1, "final": "best_val"}, None),
        ({"accuracy": 250}, "is no percentage"),
    ],
)
def test_what_a_log_says_of_the_model(tmp_path, change, named):
    log = run_dir(tmp_path, "new", 1) / "log.txt"
    log.parent.mkdir(parents=True)
    log.write_text(LOG.format(**{"seed": 1, "epoch": 5, "accuracy": 70.0, "final": "last_step", **change}))
    (run,), warnings = find_runs(tmp_path)
    assert run.accuracy == (None if named else 70.0)
    assert not named or (named in warnings[0] and str(log) in warnings[0])


@pytest.mark.parametrize("make", ["mkdir", "mkfifo"])
def test_a_log_that_is_no_file(tmp_path, make):
    log = run_dir(tmp_path, "new", 1) / "log.txt"
    log.parent.mkdir(parents=True)
    getattr(os, make)(log)
    finish(tmp_path, "new", 2, 70.0)
    runs, (warning,) = find_runs(tmp_path)
    assert str(log) in warning and sorted((run.seed, run.accuracy) for run in runs) == [(1, None), (2, 70.0)]
