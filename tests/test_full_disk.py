"""A disk that fills up at any moment of a run: one sentence, nothing lost, and room made, the same command goes on."""

import os
import shutil
import subprocess

import numpy as np
import pytest
import torch
from PIL import Image

import train
from harness import records
from tests.conftest import REPOSITORY, exits, fill
from tests.harness.forks.trees import coop
from tests.trainers.methods import METHODS
from tests.zoo import theirs
from tools import add_to_fork, export, import_checkpoint, interpret, predict, report, tsne, write_generated
from trainers.features import feature_store


@pytest.fixture
def command(tmp_path, weights):
    """command(output) -> arguments of a run of two epochs."""
    for split in ("train", "test"):
        for i, name in enumerate(("cat", "dog")):
            folder = tmp_path / "data" / "image_folder" / split / name
            folder.mkdir(parents=True)
            for n in range(3):
                Image.fromarray(np.full((32, 32, 3), 80 * i + n, np.uint8)).save(folder / f"{n}.png")

    def make(output, *options):
        return [
            *("--root", str(tmp_path / "data"), "--trainer", "CoOp", "--seed", "1", "--output-dir", str(output)),
            *("--dataset-config-file", str(REPOSITORY / "configs/datasets/image_folder.yaml")),
            *("--backbone", weights["vit"], "MODEL.BACKBONE.ACTIVATION", "quickgelu"),
            *("INPUT.SIZE", "(32, 32)", "OPTIM.MAX_EPOCH", "2"),
            *("DATALOADER.NUM_WORKERS", "0", "DATALOADER.TRAIN_X.BATCH_SIZE", "2"),
            *("TEST.SAVE_PREDICTIONS", "True", *options),
        ]

    return make


# In pages: the lock, the config, the log, the curves, the first and second checkpoint, predictions and result
@pytest.mark.parametrize("size", ["4k", "8k", "12k", "16k", "20k", "28k", "40k", "52k", "64k"])
def test_a_disk_that_fills_up(disk, command, tmp_path, capsys, size):
    run = disk(size) / "run"
    code, error = train.main(command(run)), capsys.readouterr().err
    if code:
        (sentence,) = [line for line in error.splitlines() if line.startswith("error: ")]
        assert code in (1, 2) and "cannot be written" in sentence.lower() or "Cannot write" in sentence
        assert "No space left" in sentence and str(run) in sentence
        assert "Traceback" not in error and not records.has_result(records.record_of(run))
    assert not [name for _, _, names in os.walk(run) for name in names if name.endswith(".tmp")]

    disk("10m")
    assert train.main(command(run)) == 0
    assert train.main(command(tmp_path / "whole")) == 0
    ours, theirs = (
        torch.load(p / "prompt_learner/model.pth.tar-2", weights_only=True) for p in (run, tmp_path / "whole")
    )
    for name, value in theirs["state_dict"].items():
        assert torch.equal(ours["state_dict"][name], value)
    assert records.read_record(run)["accuracy"] == records.read_record(tmp_path / "whole")["accuracy"]


@pytest.mark.parametrize("size", ["4k", "64k"])
def test_a_store_on_a_disk_that_fills_up(disk, command, tmp_path, capsys, monkeypatch, size):
    """The run goes on without it, and says so once."""
    monkeypatch.setattr(feature_store, "ROOM", -(2**30))  # so that it runs into the end
    views = ("DATALOADER.STORED_VIEWS", "2")
    folder = disk(size) / "store"
    assert train.main(command(tmp_path / "run", *views, "STORE.DIR", str(folder))) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if "No space left" in line]
    assert len(said) == (size != "64k") and all(str(folder) in line for line in said)
    assert not [name for _, _, names in os.walk(folder) for name in names if name.endswith(".tmp")]
    assert train.main(command(tmp_path / "whole", *views, "STORE.MAX_GB", "0.0")) == 0
    ours, theirs = (records.read_record(tmp_path / name) for name in ("run", "whole"))
    assert ours["accuracy"] == theirs["accuracy"]


def test_a_store_leaves_room_to_others(disk, command, tmp_path, capsys):
    """To the run's own checkpoints, for one."""
    folder = disk("10m") / "store"
    assert train.main(command(tmp_path / "run", "STORE.DIR", str(folder))) == 0
    assert "it has less than 1024 MiB left" in capsys.readouterr().out and not list(folder.glob("*/*.features"))


def test_data_that_cannot_be_written_to(disk, command, tmp_path):
    """The store is then in the run's own folder."""
    root = disk("10m")
    subprocess.run(["cp", "-r", str(tmp_path / "data" / "image_folder"), str(root)], check=True)
    subprocess.run(["mount", "-o", "remount,ro", str(root)], check=True)
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    (tmp_path / "data").symlink_to(root)
    assert train.main(command(tmp_path / "run")) == 0
    assert list((tmp_path / "run" / "feature_store").glob("*/*.features"))


# ---- commands that write a file --------------------------------------------------------------------------------


@pytest.fixture
def writes(run, weights, tmp_path, monkeypatch):
    """{name: command that writes files into the folder that it is given}"""
    picture = tmp_path / "a.png"
    Image.new("RGB", (50, 40), "red").save(picture)
    trained = str(shutil.copytree(run(METHODS["sep"])[0], tmp_path / "sep"))  # the next `run` takes its place
    plain = str(run(METHODS["zsclip"])[0])
    theirs.save(tmp_path / "theirs/model.pth.tar-5", theirs.maple(), 5)
    maple = ["--dataset-config-file", f"{REPOSITORY}/configs/datasets/dtd.yaml", "--seed", "1"]
    maple += ["--config-file", f"{REPOSITORY}/configs/trainers/MaPLe/vit_b16_c2_ep5_batch4_2ctx.yaml"]
    pairs = ["MODEL.BACKBONE.NAME", weights["vit"], "MODEL.BACKBONE.ACTIVATION", "quickgelu"]
    monkeypatch.setattr(write_generated, "contents", lambda root: {"docs/config.md": "x" * 5000})
    return {
        "report": lambda to: report.main([str(REPOSITORY / "tests/earlier_runs"), "--html", f"{to}/page.html"]),
        "export": lambda to: export.main(["--model-dir", plain, "--output", f"{to}/a.safetensors"]),
        "tsne": lambda to: tsne.main([trained, "--classes", "2", "--output", str(to)]),
        "interpret": lambda to: interpret.main(["--model-dir", trained, "--image", str(picture), "--output", str(to)]),
        "predict": lambda to: predict.main(["--model-dir", plain, "--embed", f"{to}/a.npz", str(picture)]),
        "import": lambda to: import_checkpoint.main(
            ["--trainer", "MaPLe", str(tmp_path / "theirs"), "--output-dir", f"{to}/run", *maple, *pairs]
        ),
        "write_generated": lambda to: write_generated.main([], root=to),
    }


@pytest.mark.parametrize("name", ["report", "export", "tsne", "interpret", "predict", "import", "write_generated"])
def test_a_command_on_a_disk_that_is_full(disk, writes, capsys, name):
    """One sentence; earlier files are as they were, nothing is left behind; and room made, the command works."""
    folder = disk("10m") / "files"
    folder.mkdir()
    for earlier in ("page.html", "a.safetensors", "a_tokens.png", "tsne.png", "tsne.svg", "a.npz"):
        (folder / earlier).write_bytes(b"earlier")
    before = contents(folder)
    fill(folder.parent)
    capsys.readouterr()
    for place in (folder, folder / "new"):
        if name != "predict" or place == folder:  # its FILE is in a folder that is there
            assert exits(writes[name], place) == 1
            error = capsys.readouterr().err.splitlines()
            assert len(error) == 1 and error[0].startswith("error: ") and str(folder) in error[0]
            assert "cannot be written (No space left on device)" in error[0]
            assert contents(folder) == before
    (folder.parent / "filler").unlink()
    assert exits(writes[name], folder) == 0 and contents(folder) != before


@pytest.mark.parametrize("name", ["report", "predict", "import"])  # one for each way to write a file
def test_a_command_that_may_not_write(disk, writes, capsys, name):
    folder = disk("10m")
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    capsys.readouterr()
    assert exits(writes[name], folder) == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ") and "cannot be written (Read-only file system)" in error


def test_a_fork_on_a_disk_that_is_full(disk, capsys):
    """What was added until then is taken away again."""
    fork = coop(disk("10m") / "fork")
    before = contents(fork)
    fill(fork.parent, leave=100_000)
    assert add_to_fork.main([str(fork)]) == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert "cannot be written (No space left on device); mend that, then try again" in error
    assert contents(fork)["train.py"] == before["train.py"]
    assert add_to_fork.main([str(fork), "--remove"]) == 0
    assert contents(fork) == before


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
