"""metrics.json says whose split and few-shot sample a run is of, where the loader says it."""

import json

import pytest

from tests.trainers.methods import METHODS

ORIGIN = {"split_file": "coop", "sample": "another, shots 4, seed 1"}


def recorded(trainer, folder):
    trainer.test()
    record = json.loads((folder / "metrics.json").read_text())
    return {key: record[key] for key in ORIGIN if key in record}


@pytest.mark.parametrize(
    ("method", "learns"), [("coop", True), ("tipadapter", True), ("zsclip", False), ("promptkd", False)]
)
def test_the_sample_is_that_of_what_was_learned(make_trainer, tmp_path, method, learns):
    row = METHODS[method]
    trainer = make_trainer(row.trainer, *row.options, "OPTIM.MAX_EPOCH", 1)
    assert recorded(trainer, tmp_path / "output") == {}, "this loader does not say"
    trainer.dm.dataset.origin = ORIGIN
    assert recorded(trainer, tmp_path / "output") == {key: ORIGIN[key] for key in ORIGIN if learns or key != "sample"}


def test_a_test_of_another_runs_model_has_no_sample(make_trainer, tmp_path):
    make_trainer("CoOp", "OPTIM.MAX_EPOCH", 1, output=tmp_path / "trained").train()
    trainer = make_trainer("CoOp", "OPTIM.MAX_EPOCH", 1, output=tmp_path / "test")
    trainer.dm.dataset.origin = ORIGIN
    trainer.load_model(str(tmp_path / "trained"))
    assert recorded(trainer, tmp_path / "test") == {"split_file": "coop"}
