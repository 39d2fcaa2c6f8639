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


@pytest.mark.long
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


@pytest.mark.long
def test_two_data_sets_outside_the_checkout(tmp_path):
    """A split file's and a tree, from base to new, and a domain shift: by three lines each, in one table each."""
    colours = ("red", "green", "blue", "yellow")
    for name, text in (
        ("scans", "images: images\nsplit: split_zhou_Scans.json\n"),
        ("birds", 'template: "a picture of a {}."\nclasses: names.txt\n'),
        ("dusk", "shift_of: birds\nclasses: ../birds/names.txt\n"),
    ):
        folder = tmp_path / name
        split = {"train": [], "val": [], "test": []}
        for part in ("train", "test"):
            for label, colour in enumerate(colours):
                place = f"{part}/c{label}/1.png"
                path = folder / ("images" if name == "scans" else "") / place
                path.parent.mkdir(parents=True)
                Image.new("RGB", (32, 32), colour).save(path)
                split[part].append([place, label, colour])
        if name == "scans":
            (folder / "split_zhou_Scans.json").write_text(json.dumps(split))
        (folder / "names.txt").write_text("".join(f"c{i} {colour} square\n" for i, colour in enumerate(colours)))
        (folder / "dataset.yaml").write_text(f"name: {name}\n{text}")
    (tmp_path / "data").mkdir()
    own = {"DATASET_PATH": "scans:birds:dusk", "DATA": "data", "OUTPUT": "out", "CFG": "shapes", "SHOTS": "1"}
    own.update(PYTHON=sys.executable, OMP_NUM_THREADS="1")

    def call(*command, **more):
        environ = {**os.environ, **own, **more}
        done = subprocess.run(list(map(str, command)), env=environ, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    doctor = ("--datasets", "scans", "birds", "--backbone", "shapes-tiny", "--data", "data")
    assert "ok     data, scans: 4 classes" in call(sys.executable, REPOSITORY / "tools/doctor.py", *doctor)
    assert "your own" in call(sys.executable, REPOSITORY / "tools/prepare_data.py", "list", "--root", "data")

    quick = ("OPTIM.MAX_EPOCH", "1", "DATALOADER.NUM_WORKERS", "0")
    scripts = REPOSITORY / "scripts/coop"
    for script in ("base2new_train.sh", "base2new_test.sh"):
        call("bash", scripts / script, "scans", 1, *quick)
        call("bash", scripts / script, "birds", 1, *quick)
    assert "finished already" in call("bash", scripts / "base2new_train.sh", "birds", 1, *quick)
    done = call("bash", scripts / "reproduce.sh", *quick, PROTOCOL="dg", SOURCE="birds", SEEDS="1")
    assert "Domain generalization, trained on birds" in done and "dusk" in done
    tables = call(sys.executable, REPOSITORY / "tools/report.py", "out")
    rows = [line for line in tables.partition("Domain generalization")[0].splitlines() if "CoOp" in line]
    assert "birds" in tables and "scans" in tables and rows and "—" not in "".join(rows), tables

    # Moved, they are what they were
    (tmp_path / "birds").rename(tmp_path / "elsewhere")
    moved = {"DATASET_PATH": "scans:elsewhere"}
    assert "finished already" in call("bash", scripts / "base2new_train.sh", "birds", 1, *quick, **moved)
    run = "out/base2new/train_base/birds/shots_1/CoOp/shapes/seed1"
    picture, command = "elsewhere/test/c0/1.png", REPOSITORY / "tools/predict.py"
    assert "red square" in call(sys.executable, command, picture, "--model-dir", run, DATASET_PATH="")
