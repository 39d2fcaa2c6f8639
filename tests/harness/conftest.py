"""A checkout whose scripts are called in this process, with stand-ins for what they become."""

import io
import json
import os
import shutil
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest

import harness.__main__ as front
from harness import layout
from harness.catalogue import METHODS
from harness.command_line import given, parse_args
from harness.running import launch, script
from tests.conftest import REPOSITORY


class Result(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


class Checkout:
    """configs/ below a path with spaces, and a caller's folder elsewhere.

    `checkout("sep/base2new_train.sh", "shapes", 1, SHOTS=4)` does what the script does; `called` is then the command
    that it became. A call of train.py fails with the exit code `exit_code` if its arguments hold `fails_for`; else it
    leaves what a finished run leaves if `finishes` is set.
    """

    def __init__(self, folder, monkeypatch):
        self.root = folder / "my checkout"
        self.cwd = folder / "some where"
        self.home = folder / "home"
        self.cwd.mkdir()
        shutil.copytree(REPOSITORY / "configs", self.root / "configs")
        for method in METHODS:
            (self.root / f"configs/trainers/{method.trainer}/mine.yaml").touch()
        self.calls = []  # of train.py and report.py: lists of arguments
        self.finishes, self.exit_code, self.fails_for = False, 0, ""
        monkeypatch.setattr(launch, "ROOT", str(self.root))
        monkeypatch.setattr(front.os, "execv", lambda path, command: self.call(command))
        monkeypatch.setattr(script, "call", self.call)
        self._chdir = monkeypatch.chdir

    def call(self, command):
        self.calls.append(command[1:])
        if not command[1].endswith("train.py"):
            return 0
        if self.exit_code and self.fails_for in " ".join(command):
            return self.exit_code
        if self.finishes:
            args = parse_args(command[2:])
            self._leave(Path(args.output_dir), args, accuracy=50.0, epoch=1)
            self._checkpoint(Path(args.output_dir), 1)
        return 0

    def __call__(self, name, *args, **env):
        folder, _, name = name.partition("/")
        self.calls.clear()
        self._chdir(self.cwd)
        env = {"HOME": str(self.home), "PWD": str(self.cwd), **{key: str(value) for key, value in env.items()}}
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            try:
                code = front.main([folder, name[: -len(".sh")], *map(str, args)], env)
            except SystemExit as stop:
                code = stop.code
        return Result(code, out.getvalue(), err.getvalue())

    @property
    def called(self):
        """[train.py, arguments ...], None if train.py was not called."""
        return self.calls[-1] if self.calls else None

    def option(self, name):
        return self.called[self.called.index(name) + 1]

    # ---- what runs have left ----

    def run_dir(self, part="base2new/train_base", dataset="shapes", trainer="SEP", cfg="shapes", output=None, shots=16):
        output = output or self.root / "output"
        return output / f"{part}/{dataset}/shots_{shots}/{trainer}/{cfg}/seed1"

    def checkpoint(self, *epochs, **where):
        for epoch in epochs:
            self._checkpoint(self.run_dir(**where), epoch)

    def finish(self, accuracy=85.125, epoch=50, model_dir="", pairs=(), **where):
        """Leave the result of a run with seed 1, of `model_dir` if it is a test's."""
        folder = self.run_dir(**where)
        _, place = layout.place_of(folder)
        arguments = [
            *("--seed", "1", "--trainer", place.trainer),
            *("--dataset-config-file", str(self.root / f"configs/datasets/{place.dataset}.yaml")),
            *("--config-file", str(self.root / f"configs/trainers/{place.trainer}/{place.cfg}.yaml"), *pairs),
            *("DATASET.NUM_SHOTS", place.shots, "DATASET.SUBSAMPLE_CLASSES", layout.PARTS[place.folder].classes),
        ]
        self._leave(folder, parse_args(arguments), accuracy, epoch, model_dir)

    def said(self, **where):
        return json.loads((self.run_dir(**where) / "metrics.json").read_text())

    def say(self, more, **where):
        """Change what a run's record says."""
        (self.run_dir(**where) / "metrics.json").write_text(json.dumps({**self.said(**where), **more}))

    def _leave(self, folder, args, accuracy, epoch, model_dir=""):
        folder.mkdir(parents=True, exist_ok=True)
        record = {"split": "test", "epoch": epoch, "model_dir": str(model_dir or args.model_dir), "given": given(args)}
        record.update(accuracy=accuracy, macro_f1=3.0, trained_epochs=epoch, max_epoch=epoch)
        (folder / "metrics.json").write_text(json.dumps(record))

    def _checkpoint(self, folder, epoch):
        path = folder / f"prompt_learner/model.pth.tar-{epoch}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    def age(self, seconds, **where):
        """Make a run's result so much older or, below 0, newer than it is."""
        path = self.run_dir(**where) / "metrics.json"
        time = path.stat().st_mtime - seconds
        os.utime(path, (time, time))


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    return Checkout(tmp_path, monkeypatch)
