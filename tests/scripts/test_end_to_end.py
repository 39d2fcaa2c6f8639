"""The main jobs as a user runs them, on a Caltech101 tree: SEP base-to-new, killed once; CoOp to another data set."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from PIL import Image

from tests.conftest import REPOSITORY

SCRIPTS = REPOSITORY / "scripts"
RUN = "shots_4/SEP/vit_b16_ep50_batch32/seed1"


@pytest.fixture
def settings(weights):
    pairs = {
        "MODEL.BACKBONE.NAME": weights["vit"],
        "MODEL.BACKBONE.ACTIVATION": "quickgelu",
        "INPUT.SIZE": "(32, 32)",
        "OPTIM.MAX_EPOCH": "4",
        "DATALOADER.NUM_WORKERS": "0",
        "DATALOADER.TRAIN_X.BATCH_SIZE": "8",
    }
    return [part for pair in pairs.items() for part in pair]


@pytest.mark.long
def test_sep_base_to_new(settings, caltech_stub, tmp_path):
    def command(script, output):
        settings_of_run = {"DATA": str(caltech_stub), "OUTPUT": str(output), "SHOTS": "4", "PYTHON": sys.executable}
        environment = {**os.environ, **settings_of_run, "OMP_NUM_THREADS": "1"}
        arguments = ["bash", str(SCRIPTS / "sep" / script), "caltech101", "1", *settings]
        return {"args": arguments, "env": environment, "cwd": str(tmp_path)}

    def run(script, output):
        done = subprocess.run(**command(script, output), capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    def weights_of(output):
        path = output / "base2new/train_base/caltech101" / RUN / "prompt_learner" / "model.pth.tar-4"
        return torch.load(path, weights_only=True)["state_dict"]

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    run("base2new_train.sh", whole)

    # kill -9 as soon as there is a checkpoint, then give the same command again
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    killed = subprocess.Popen(**command("base2new_train.sh", cut), **quiet)
    learner = cut / "base2new/train_base/caltech101" / RUN / "prompt_learner"
    while not (learner / "checkpoint").exists() and killed.poll() is None:
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert "epochs are done" in run("base2new_train.sh", cut)
    resumed = weights_of(cut)
    for name, value in weights_of(whole).items():
        assert torch.equal(value, resumed[name]), name

    run("base2new_test.sh", cut)
    assert "finished already" in run("base2new_train.sh", cut)
    report = subprocess.run(
        [sys.executable, str(REPOSITORY / "tools" / "report.py"), str(cut)], capture_output=True, text=True, check=True
    )
    assert "caltech101" in report.stdout and "SEP" in report.stdout


def test_coop_to_another_data_set(settings, caltech_stub, tmp_path):
    """Two classes that the source lacks; the model's folder is on record and the table has both."""
    for split in ("train", "val", "test"):
        for colour in ("red", "blue"):
            path = caltech_stub / "image_folder" / split / f"{colour} square" / "1.png"
            path.parent.mkdir(parents=True)
            Image.new("RGB", (32, 32), colour).save(path)
    run = {"PROTOCOL": "xd", "SOURCE": "caltech101", "DATASETS": "image_folder", "SEEDS": "1", "SHOTS": "2"}
    folders = {"DATA": str(caltech_stub), "OUTPUT": str(tmp_path / "out"), "PYTHON": sys.executable}
    done = subprocess.run(
        ["bash", str(SCRIPTS / "coop" / "reproduce.sh"), *settings, "OPTIM.MAX_EPOCH", "1"],
        env={**os.environ, **run, **folders, "OMP_NUM_THREADS": "1"},
        cwd=str(tmp_path),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    below = "shots_2/CoOp/vit_b16_ctxv1/seed1"
    tested = json.loads((tmp_path / "out/xd/test/image_folder" / below / "metrics.json").read_text())
    assert tested["model_dir"] == str(tmp_path / "out/xd/train/caltech101" / below)
    assert tested["n_cls"] == 2 and tested["epoch"] == 1
    table = done.stdout.splitlines()[-10:]
    assert any("CoOp" in line for line in table) and any("image_folder" in line for line in table)
