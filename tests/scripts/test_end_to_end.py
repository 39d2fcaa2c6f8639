"""The main job as a user runs it: SEP on a Caltech101 tree, killed once, tested on the new classes, in a table."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from tests.conftest import REPOSITORY

SCRIPTS = REPOSITORY / "scripts" / "sep"
RUN = "shots_4/SEP/vit_b16_ep50_batch32/seed1"


@pytest.fixture
def settings(weights):
    pairs = {
        "MODEL.BACKBONE.NAME": weights["vit"],
        "INPUT.SIZE": "(32, 32)",
        "OPTIM.MAX_EPOCH": "4",
        "DATALOADER.NUM_WORKERS": "0",
        "DATALOADER.TRAIN_X.BATCH_SIZE": "8",
    }
    return [part for pair in pairs.items() for part in pair]


def test_sep_base_to_new(settings, caltech_stub, tmp_path):
    def command(script, output):
        settings_of_run = {"DATA": str(caltech_stub), "OUTPUT": str(output), "SHOTS": "4", "PYTHON": sys.executable}
        environment = {**os.environ, **settings_of_run, "OMP_NUM_THREADS": "1"}
        arguments = ["bash", str(SCRIPTS / script), "caltech101", "1", *settings]
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
