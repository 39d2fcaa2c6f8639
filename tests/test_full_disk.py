"""A disk that fills up at any moment of a run: one sentence, nothing lost, and room made, the same command goes on."""

import os
import subprocess

import numpy as np
import pytest
import torch
from PIL import Image

import train
from harness import records
from tests.conftest import REPOSITORY
from trainers.features import feature_store


@pytest.fixture
def disk(tmp_path):
    """disk(size) -> a folder on a file system of that size ("64k"), the same one, with what it holds, at each call."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = []

    def make(size):
        command = ["mount", "-o", f"remount,size={size}", str(folder)] if mounted else None
        command = command or ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
        mounted.append(size)
        return folder

    yield make
    if mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


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
    assert "it has less than 1024 MiB left" in capsys.readouterr().out and not os.listdir(folder)


def test_data_that_cannot_be_written_to(disk, command, tmp_path):
    """The store is then in the run's own folder."""
    root = disk("10m")
    subprocess.run(["cp", "-r", str(tmp_path / "data" / "image_folder"), str(root)], check=True)
    subprocess.run(["mount", "-o", "remount,ro", str(root)], check=True)
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    (tmp_path / "data").symlink_to(root)
    assert train.main(command(tmp_path / "run")) == 0
    assert list((tmp_path / "run" / "feature_store").glob("*/*.features"))
