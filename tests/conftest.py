import contextlib
import itertools
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import torch
from PIL import Image

import dassl  # noqa: F401  first: lets torchvision import beside a CPU-only PyTorch
from harness.errors import exit_with

pytest_plugins = ["tests.tiny", "tests.families", "tests.built"]

torch.set_num_threads(1)
hypothesis.settings.register_profile("untimed", deadline=None)  # a busy machine is no bug
hypothesis.settings.load_profile("untimed")

REPOSITORY = Path(__file__).resolve().parents[1]
GOLDEN = REPOSITORY / "tests" / "golden"


@pytest.fixture(autouse=True, scope="session")
def power_stays_on():
    """Nobody cuts the power here, and to wait for the disk takes longer than most of what is tested."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture
def caltech_stub(tmp_path):
    """A data root with Caltech101's layout and file names: 13 classes, a colour each, 32 x 32 pixels."""
    root = tmp_path / "data"
    split_file = GOLDEN / "fewshot_split.json"
    rng = np.random.RandomState(0)
    colours = rng.randint(0, 200, size=(13, 3))
    for name, label, _ in [item for items in json.loads(split_file.read_text()).values() for item in items]:
        path = root / "caltech-101" / "101_ObjectCategories" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = colours[label] + rng.randint(0, 56, size=(32, 32, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    (root / "caltech-101" / "split_zhou_Caltech101.json").write_text(split_file.read_text())
    return root


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


def python(code, *words, **environ):
    """What a Python of its own prints that runs `code` in the checkout and must not fail."""
    command = [sys.executable, "-c", code, *map(str, words)]
    done = subprocess.run(command, cwd=REPOSITORY, env={**os.environ, **environ}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def exits(main, *args):
    """The exit code of a command, whose errors are sentences then."""
    with pytest.raises(SystemExit) as end:
        exit_with(lambda: main(*args))
    return end.value.code


def fill(folder, leave=0):
    """Leave no room, or so many bytes, on the disk of `folder`."""
    with open(folder / "filler", "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            file.truncate(file.tell() - leave)


@contextlib.contextmanager
def no_larger_files(size):
    """Inside, no file can grow beyond so many bytes: as on a full disk."""
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def raiser(error):
    """A function that raises `error`, whatever it is called with."""

    def fail(*args, **kwargs):
        raise error

    return fail


def kill_at(n, function):
    """`function`, whose n-th call never returns."""
    calls = itertools.count(1)

    def or_die(*args):
        if next(calls) == n:
            raise KeyboardInterrupt
        return function(*args)

    return or_die
