"""A stranger's trainer through training, resuming, tests, skip and tables."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import own_methods
import train
from foreign import guest
from harness import catalogue
from harness.errors import UserError
from harness.running import launch
from harness.running.protocols import make_job
from tests.conftest import REPOSITORY
from tests.foreign.conftest import write_stranger
from tools import report


@pytest.fixture
def run(stranger, weights, data_root, tmp_path, monkeypatch, capsys):
    """run(script, KEY, VALUE, ...) -> (exit code, what was said, what the run's folder records)."""
    (tmp_path / "configs/datasets").mkdir(parents=True)
    (tmp_path / "configs/datasets/tiny.yaml").write_text("DATASET: {NAME: TinyData}\n")
    monkeypatch.setattr(launch, "ROOT", str(tmp_path))
    environment = launch.Environment(data_root, str(tmp_path / "out"))
    backbone = ("MODEL.BACKBONE.NAME", weights["vit"], "MODEL.BACKBONE.ACTIVATION", "quickgelu")

    def call(script, *pairs, env=environment):
        pairs = (*backbone, "USE_CUDA", "False", "STORE.DIR", str(tmp_path / "store"), *pairs)
        job = make_job(script, catalogue.method("stranger"), "tiny", 1, shots=4)
        try:
            plan = launch.plan(job, pairs, env)
        except launch.Refused as error:
            return error.code, str(error), {}
        code = train.main(plan.arguments) if plan.arguments else 0
        said, record = capsys.readouterr(), Path(job.place("old").below(env.output), "metrics.json")
        content = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
        return code, plan.message + said.out + said.err, content

    return call


BASE = "out/base2new/train_base/tiny/shots_4/Stranger/old/seed1"


def test_base_to_new(run, tmp_path, monkeypatch, capsys):
    predictions = ("TEST.SAVE_PREDICTIONS", "True")
    code, said, base = run("base2new_train", *predictions)
    assert code == 0, said
    assert "training: " in said and "Note: Stranger is a trainer written for Dassl, and runs as it is." in said
    assert (base["epoch"], base["max_epoch"], base["n"], base["n_cls"]) == (2, 2, 9, 3)
    assert base["learnable_parameters"] == 32 and "ece" in base["calibration"]
    assert base["given"] and base["test_pictures"]
    assert base["settings"]["TRAINER.COOP.CTX_INIT"] is True and base["settings"]["LOSS.KIND"] == "ce"
    folder = tmp_path / BASE
    kept = np.load(folder / "predictions.npz")
    assert 100 * np.mean(kept["logits"].argmax(1) == kept["labels"]) == pytest.approx(base["accuracy"])
    assert len(kept["impaths"]) == 9 and (folder / "ShiftLearner/model.pth.tar-2").exists()
    assert run("base2new_train", *predictions)[1].startswith("finished already, accuracy")

    code, said, new = run("base2new_test", *predictions)
    assert code == 0 and "testing: " in said, said
    assert (new["model_dir"], new["epoch"], new["final_model"]) == (str(folder), 2, True)
    assert new["model"]["settings"]["TRAINER.NAME"] == "Stranger" and new["classnames"] != base["classnames"]
    assert run("base2new_test", *predictions)[1].startswith("finished already, accuracy")
    assert report.main([str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "Stranger" in said and f"{new['accuracy']:.2f}" in said and "missing" not in said

    with pytest.raises(UserError, match="is a run of Stranger, a trainer written for Dassl, whose model only its"):
        own_methods.run_folder(str(folder))
    code, said, _ = run("base2new_joint", "OPTIM.LR", "0.2")
    assert code == 1 and "was trained with OPTIM.LR 0.1, but this run has 0.2: give the test the config" in said
    earlier = launch.Environment(str(tmp_path), str(tmp_path / "out"), load_epoch="1")
    code, said, _ = run("base2new_joint", env=earlier._replace(data=base["given"]["root"]))
    assert code == 1 and 'ShiftLearner": --load-epoch can be 2.' in said
    with open(tmp_path / "stranger/coop.py", "a", encoding="utf-8") as file:
        file.write("# other code\n")
    guest.take_leave()
    code, said, _ = run("base2new_train", *predictions)
    assert code == 2 and "TRAINER.STRANGER.CODE_CHECKSUM" in said


def test_it_goes_on_and_ends_otherwise(run, tmp_path):
    """Resumed as Dassl does; trained without a test; the best of its models by the validation images."""
    code, said, record = run("base2new_train", "TRAIN.CHECKPOINT_FREQ", "1", "TEST.NO_TEST", "True")
    assert code == 0 and record["trained_epochs"] == 2 and "accuracy" not in record, said
    folder = tmp_path / BASE
    (folder / "metrics.json").unlink()  # killed in the second epoch
    (folder / "ShiftLearner/model.pth.tar-2").unlink()
    (folder / "ShiftLearner/checkpoint").write_text("model.pth.tar-1\n")
    code, said, _ = run("base2new_test")
    assert code == 1 and "stopped after epoch 1; finish it first: bash scripts/any.sh stranger base2new_train" in said
    code, said, record = run("base2new_train")
    assert code == 0 and "resuming after epoch 1" in said and "epoch [2/2]" in said and "epoch [1/2]" not in said
    assert record["epoch"] == 2 and "accuracy" in record
    shutil.rmtree(folder)
    code, said, record = run("base2new_train", "TEST.FINAL_MODEL", "best_val")
    assert code == 0 and "Deploy the model with the best val performance" in said and record["final_model"]
    code, said, new = run("base2new_test", "TEST.FINAL_MODEL", "best_val")
    assert code == 0 and new["epoch"] == record["epoch"] and "model-best.pth.tar" in said


MISTAKES = {
    ("TRAINER.COOP.W", "0.0"): "Stranger does not take this config (W must be positive)",
    ("DATALOADER.STORED_VIEWS", "2"): "DATALOADER.STORED_VIEWS is for methods of this project, and Stranger, a trainer",
    ("TEST.REMEDIES", "['dac']"): "TEST.REMEDIES are for methods of this project, not for Stranger: leave it out.",
    ("MODEL.BACKBONE.ACTIVATION", "gelu"): "has another activation or other heads than OpenAI's CLIPs, which the code",
}


@pytest.mark.parametrize("pair", MISTAKES, ids=lambda pair: pair[0])
def test_a_mistake_is_a_sentence(run, pair):
    code, said, _ = run("base2new_train", *pair)
    assert code == 1 and MISTAKES[pair] in said and "error: " in said, said


@pytest.mark.parametrize("idea", ["silent", "twice"])
def test_a_test_that_says_nothing(run, stranger, idea):
    """It must be Dassl's evaluator that is asked, once for each picture."""
    body = {"silent": "return 1.0", "twice": "super().test(split); self.evaluator.reset(); return super().test(split)"}
    code = (stranger / "coop.py").read_text() + f"\n    def test(self, split=None):\n        {body[idea]}\n"
    (stranger / "coop.py").write_text(code)
    said = {"silent": "does not ask self.evaluator", "twice": "went over 18 pictures, and the data set has 9"}
    status, out, record = run("base2new_train", "OPTIM.MAX_EPOCH", "1")
    assert status == 1 and said[idea] in out and "accuracy" not in record


@pytest.mark.long
def test_a_sweep_beside_ours(tmp_path):
    """Each run is a fork of a process that has CoOp, too."""
    write_stranger(tmp_path)
    (tmp_path / "data").mkdir()
    own = {"OUTPUT": f"{tmp_path}/out", "DATA": f"{tmp_path}/data", "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}

    def call(tool, *words):
        command = [sys.executable, str(REPOSITORY / f"tools/{tool}.py"), *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={**os.environ, **own})
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    quick = ("--set", "OPTIM.MAX_EPOCH", "1", "MODEL.BACKBONE.NAME", "shapes-tiny", "INPUT.SIZE", "(64, 64)")
    grid = "--methods stranger coop --datasets shapes --seeds 1 --jobs 1 --methods-from stranger".split()
    assert "4 runs: 4 done" in call("sweep", *grid, *quick)
    assert "4 runs, 4 finished before" in call("sweep", *grid, *quick)
    rows = [line for line in call("report", "out").splitlines() if "shapes" in line]
    assert ["Stranger" in row or "CoOp" in row for row in rows] == [True, True] and "—" not in "".join(rows)
