"""Runs of an earlier version (tests/earlier_runs/) are skipped, resumed, tested, loaded and tabulated by this one."""

import contextlib
import io
import json
import os
import shutil

import pytest
import torch

import train
from harness.catalogue import method
from harness.report.runs import find_runs
from harness.running import script
from inference.api import load_run
from tests.conftest import REPOSITORY

PAIRS = ("OPTIM.MAX_EPOCH", "3", "TRAIN.CHECKPOINT_FREQ", "1", "INPUT.SIZE", "(64,64)")
RUN = "caltech101/shots_4/CoOp/shapes/seed1"


@pytest.fixture
def output(tmp_path):
    shutil.copytree(REPOSITORY / "tests/earlier_runs/base2new", tmp_path / "output/base2new")
    for path in (tmp_path / "output").rglob("metrics.json"):  # git may write the test's before the training's
        os.utime(path, (0, 0))
    return tmp_path / "output"


@pytest.fixture
def call(output, caltech_stub, monkeypatch):
    """call(script) does what the script does; returns what it prints, and train.py's exit code if it was called."""

    def call(step):
        environ = {"DATA": str(caltech_stub), "OUTPUT": str(output), "CFG": "shapes", "SHOTS": "4"}
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            command = script.command_of(method("coop"), step, ["caltech101", "1", *PAIRS], environ)
            code = train.main(command[2:]) if command else None
        return printed.getvalue(), code

    return call


def accuracy(folder):
    return json.loads((folder / "metrics.json").read_text())["accuracy"]


def test_skipped(call, output):
    for step, part in (("base2new_train", "train_base"), ("base2new_test", "test_new")):
        printed, code = call(step)
        assert (
            code is None and f"finished already, accuracy {accuracy(output / f'base2new/{part}' / RUN):.2f}%" in printed
        )


def test_resumed(call, output):
    folder = output / "base2new/train_base" / RUN
    last, before = folder / "prompt_learner/model.pth.tar-3", accuracy(folder)
    weights = torch.load(last, weights_only=True)["state_dict"]["ctx"]
    last.unlink()
    (folder / "metrics.json").unlink()
    printed, code = call("base2new_train")
    assert code == 0 and "(2 of 3 epochs are done)" in printed
    torch.testing.assert_close(torch.load(last, weights_only=True)["state_dict"]["ctx"], weights, rtol=1e-3, atol=1e-5)
    assert accuracy(folder) == pytest.approx(before, abs=4)  # two of 51 pictures: another CPU rounds otherwise


def test_tested(call, output):
    folder = output / "base2new/test_new" / RUN
    before = accuracy(folder)
    (folder / "metrics.json").unlink()
    assert call("base2new_test")[1] == 0
    assert accuracy(folder) == pytest.approx(before, abs=6)  # two of 38


def test_loaded_and_tabulated(output):
    assert len(load_run(output / "base2new/test_new" / RUN).classnames) == 6
    runs, warnings = find_runs(output)
    assert warnings == [] and [(run.part, run.accuracy) for run in sorted(runs)] == [
        (part, accuracy(output / "base2new" / folder / RUN))
        for part, folder in (("base", "train_base"), ("new", "test_new"))
    ]
