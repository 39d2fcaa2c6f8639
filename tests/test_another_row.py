"""train.py tests a model in the folder of another row: refused, whatever says of which row it is."""

import json
import shutil

import pytest

import train
from tests.conftest import REPOSITORY

MODEL = "base2new/train_base/caltech101/shots_4/CoOp/shapes/seed1"
PAIRS = ("OPTIM.MAX_EPOCH", "3", "TRAIN.CHECKPOINT_FREQ", "1", "INPUT.SIZE", "(64,64)")
NEW = ("DATASET.NUM_SHOTS", "4", "DATASET.SUBSAMPLE_CLASSES", "new")


@pytest.fixture
def call(tmp_path, caltech_stub, capsys):
    """call(model's folder, output folder, seed) -> exit code and what stderr says."""
    shutil.copytree(REPOSITORY / "tests/earlier_runs/base2new/train_base", tmp_path / "base2new/train_base")

    def call(model, output, seed):
        arguments = [
            *("--root", str(caltech_stub), "--seed", str(seed), "--trainer", "CoOp", "--eval-only"),
            *("--dataset-config-file", str(REPOSITORY / "configs/datasets/caltech101.yaml")),
            *("--config-file", str(REPOSITORY / "configs/trainers/CoOp/shapes.yaml")),
            *("--model-dir", str(tmp_path / model), "--output-dir", str(tmp_path / output), *PAIRS, *NEW),
        ]
        return train.main(arguments), capsys.readouterr().err

    return call


def test_seed_1s_model_in_seed_2s_folder(call, tmp_path):
    other = MODEL.replace("train_base", "test_new").replace("seed1", "seed2")
    code, error = call(MODEL, other, 2)
    assert code == 2 and 'has the seed "1", but' in error and error.count("\n") == 1
    shutil.copytree(tmp_path / MODEL, tmp_path / "elsewhere")
    assert call("elsewhere", other, 2)[0] == 2  # its record says so, and without one its checkpoint
    (tmp_path / "elsewhere/metrics.json").unlink()
    code, error = call("elsewhere", other, 2)
    assert code == 1 and 'elsewhere has the seed "1", but' in error
    assert not (tmp_path / other / "metrics.json").exists()


def test_its_own_row_and_no_row(call, tmp_path):
    own = MODEL.replace("train_base", "test_new")
    shutil.move(tmp_path / "base2new", tmp_path / "moved")
    shutil.move(tmp_path / "moved", tmp_path / "m/base2new")
    assert call(f"m/{MODEL}", own, 1)[0] == 0
    assert json.loads((tmp_path / own / "metrics.json").read_text())["model"]["settings"]["SEED"] == 1
    assert call(f"m/{MODEL}", "free", 7)[0] == 0  # whose folder says nothing
