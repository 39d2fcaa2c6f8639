"""What a run leaves for tables: of a test, of validation images, and of a training without an evaluation."""

import json
import os

import numpy as np
import pytest

from trainers.errors import UserError
from trainers.run.experiment import data_checksums, fingerprint, nodes_of, settings_of
from trainers.run.saver import ROW

OPTIONS = ("CoOp", "TRAINER.COOP.N_CTX", 4)


@pytest.fixture
def metrics(tmp_path):
    """metrics(folder) -> what the run in it has on record."""
    return lambda folder="output": json.loads((tmp_path / folder / "metrics.json").read_text())


def test_a_run_says_what_it_was(make_trainer, metrics):
    trainer = make_trainer(*OPTIONS)
    trainer.facts = {"given": ["OPTIM.LR"], "accuracy": 100.0, "seed": 9}
    trainer.train()
    found = metrics()
    assert found["settings"] == settings_of(trainer.cfg, nodes_of(trainer, trainer.cfg))
    assert found["fingerprint"] == fingerprint(found["settings"])
    assert found["data"] == data_checksums(trainer.dm.dataset) and len(set(found["data"].values())) == 3
    assert found["trained_epochs"] == found["max_epoch"] == found["epoch"] == 3
    assert found["backbone"].endswith("vit.pt") and isinstance(found["backbone_fingerprint"], int)
    assert found["given"] == ["OPTIM.LR"] and found["seed"] == 1 and found["accuracy"] < 100  # what is measured stays
    assert "model" not in found and found["model_dir"] == ""


def test_a_result_says_what_is_in_its_pictures(make_trainer, metrics, tmp_path):
    root = ("DATASET.ROOT", str(tmp_path / "own"))
    found = []
    for change in (lambda path: None, os.utime, lambda path: path.write_bytes(path.read_bytes() + b"0")):
        trainer = make_trainer("ZeroshotCLIP", *root)
        change(tmp_path / "own/tiny/test/2_1.png")
        trainer.test()
        found.append(metrics()["test_pictures"])
    assert found[0] == found[1] != found[2]


def test_a_result_says_which_model_it_is_of(make_trainer, metrics, tmp_path):
    make_trainer(*OPTIONS, "TRAIN.CHECKPOINT_FREQ", 1, "TEST.NO_TEST", True).train()
    model, folder = metrics(), str(tmp_path / "output")
    for epoch in (None, 2):
        trainer = make_trainer(*OPTIONS, "DATASET.SUBSAMPLE_CLASSES", "new", output=tmp_path / "test")
        trainer.load_model(folder, epoch)
        trainer.test()
        found = metrics("test")
        assert found["model_dir"] == folder and found["epoch"] == (epoch or 3)
        row = {key: model["settings"][key] for key in ROW}
        assert found["model"] == {"fingerprint": model["fingerprint"], "epoch": epoch or 3, "settings": row}
        assert found["final_model"] == (epoch is None)
        assert found["fingerprint"] != model["fingerprint"]
        assert found["trained_epochs"] == found["max_epoch"] == 3


def test_training_without_a_test(make_trainer, metrics):
    make_trainer(*OPTIONS, "TEST.NO_TEST", True).train()
    found = metrics()
    assert found["split"] is None and found["trained_epochs"] == found["max_epoch"] == found["epoch"] == 3
    assert not {"accuracy", "macro_f1", "n", "test", "val"} & found.keys()
    assert found["n_cls"] == 6 and found["fingerprint"] == fingerprint(found["settings"])


def test_training_with_validation_images(make_trainer, metrics, tmp_path):
    make_trainer(*OPTIONS, "TEST.SPLIT", "val", "TEST.SAVE_PREDICTIONS", True).train()
    found = metrics()
    assert found["split"] == "val" and found["trained_epochs"] == found["max_epoch"] == 3
    assert not {"accuracy", "macro_f1", "n"} & found.keys()
    assert found["val"]["n"] == 12 and 0 <= found["val"]["accuracy"] <= 100 and "macro_f1" in found["val"]
    assert not (tmp_path / "output" / "predictions.npz").exists()


def test_what_is_measured_of_the_logits(make_trainer, metrics, tmp_path):
    trainer = make_trainer(*OPTIONS, "TEST.SAVE_PREDICTIONS", True)
    trainer.measure = lambda logits, labels: {"mine": float(logits[labels == 2].sum()), "accuracy_of": len(labels)}
    trainer.train()
    saved = np.load(tmp_path / "output" / "predictions.npz")
    assert metrics()["mine"] == float(saved["logits"][saved["labels"] == 2].sum()) and metrics()["accuracy_of"] == 18
    trainer.test("val")
    make_trainer(*OPTIONS).test()
    assert "mine" not in metrics()  # a trainer in a fork measures nothing


def test_predictions_of_an_earlier_test_do_not_stay(make_trainer, tmp_path):
    make_trainer("ZeroshotCLIP", "TEST.SAVE_PREDICTIONS", True).test()
    assert (tmp_path / "output" / "predictions.npz").exists()
    make_trainer("ZeroshotCLIP", "INPUT.INTERPOLATION", "nearest").test()
    assert not (tmp_path / "output" / "predictions.npz").exists()


def test_zero_shot_is_finished_at_once(make_trainer, metrics):
    make_trainer("ZeroshotCLIP", "TEST.NO_TEST", True).train()
    assert metrics()["split"] is None and metrics()["trained_epochs"] == metrics()["max_epoch"] == 0
    make_trainer("ZeroshotCLIP").train()
    assert metrics()["n"] == 18


@pytest.mark.parametrize("again", [("TEST.SPLIT", "val"), ("TEST.NO_TEST", True)])
def test_the_result_of_a_test_is_left_alone(make_trainer, metrics, capsys, again):
    make_trainer(*OPTIONS).train()
    before = metrics()
    make_trainer(*OPTIONS, *again).train()
    assert metrics() == before
    assert capsys.readouterr().out.count("metrics.json holds the result of a test and is left as it is") == 1
    make_trainer(*OPTIONS).train()  # a test replaces it
    assert metrics()["accuracy"] == before["accuracy"] and metrics() != before


def test_a_test_of_fewer_epochs_does_not_stand_for_the_finished_training(make_trainer, metrics, tmp_path):
    trainer = make_trainer(*OPTIONS, "TEST.SPLIT", "val")
    trainer.before_train()
    trainer.checkpoints.now_at(2)
    trainer.test(split="test")
    assert metrics()["accuracy"] >= 0 and metrics()["trained_epochs"] == 2
    make_trainer(*OPTIONS, "TEST.SPLIT", "val").train()
    assert metrics()["split"] == "val" and metrics()["trained_epochs"] == 3
    for damaged in ("{", "[1]", '{"accuracy": 1, "trained_epochs": "x"}'):
        (tmp_path / "output" / "metrics.json").write_text(damaged)
        make_trainer(*OPTIONS, "TEST.SPLIT", "val").train()
        assert metrics()["split"] == "val"


def test_a_record_that_cannot_be_read_is_not_replaced(make_trainer, tmp_path):
    (tmp_path / "output" / "metrics.json").mkdir(parents=True)
    for split in ("val", "test"):
        with pytest.raises(UserError, match="metrics.json. cannot be (read|written) .Is a directory"):
            make_trainer(*OPTIONS, "TEST.SPLIT", split, "TEST.SAVE_PREDICTIONS", True).train()
