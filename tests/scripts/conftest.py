"""A checkout with a stand-in for the interpreter that records what train.py would be called with."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
METHODS = {  # folder below scripts/ -> trainer
    "zsclip": "ZeroshotCLIP",
    "coop": "CoOp",
    "cocoop": "CoCoOp",
    "kgcoop": "KgCoOp",
    "prograd": "ProGrad",
    "maple": "MaPLe",
    "promptsrc": "PromptSRC",
    "tcp": "TCP",
    "sep": "SEP",
    "e2mim": "E2MIM",
}
# $RECORD: the last call, $RECORD.all: a line per call of train.py and report.py.
# STUB_EXIT fails the calls that hold STUB_FAILS_FOR; STUB_FINISHES leaves what a finished run leaves.
STUB = """#!/bin/bash
case ${1-} in
    */train.py)
        printf '%s\\0' "$PWD" "$@" >"$RECORD"
        echo "$*" >>"$RECORD.all"
        [ -z "${STUB_SLEEP-}" ] || exec sleep "$STUB_SLEEP"
        case "$*" in *"${STUB_FAILS_FOR-}"*) [ -z "${STUB_EXIT-}" ] || exit "$STUB_EXIT" ;; esac
        if [ -n "${STUB_FINISHES-}" ]; then
            while [ "$1" != --output-dir ]; do shift; done
            mkdir -p "$2/prompt_learner"
            touch "$2/prompt_learner/model.pth.tar-1"
            echo '{"accuracy": 50.0, "epoch": 1}' >"$2/metrics.json"
        fi
        ;;
    */report.py) echo "$*" >>"$RECORD.all" ;;
    *) exec "$REAL_PYTHON" "$@" ;;
esac
"""


class Checkout:
    """A copy of scripts/ and configs/ below a path with spaces, and a caller's folder elsewhere."""

    def __init__(self, folder):
        self.root = folder / "my checkout"
        self.cwd = folder / "some where"
        self.record = folder / "record"
        self.cwd.mkdir()
        for part in ("scripts", "configs"):
            shutil.copytree(ROOT / part, self.root / part)
        for trainer in METHODS.values():
            self.add_config(f"configs/trainers/{trainer}", "mine")
        self.python = folder / "stub python"
        self.python.write_text(STUB)
        self.python.chmod(0o755)

    def add_config(self, folder, name):
        path = self.root / folder / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    def command(self, script, *args):
        return ["bash", str(self.root / "scripts" / script), *map(str, args)]

    def environment(self, **changes):
        clean = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "TMPDIR")}
        clean.update(PYTHON=str(self.python), REAL_PYTHON=sys.executable, RECORD=str(self.record))
        clean.update({key: str(value) for key, value in changes.items()})
        return clean

    def __call__(self, script, *args, cwd=None, **env):
        for record in (self.record, self.record.with_suffix(".all")):
            record.unlink(missing_ok=True)
        return subprocess.run(
            self.command(script, *args),
            cwd=cwd or self.cwd,
            env=self.environment(**env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    @property
    def called(self):
        """[working folder, train.py, arguments ...], None if train.py was not called."""
        return self.record.read_text().split("\0")[:-1] if self.record.exists() else None

    @property
    def calls(self):
        """A line for each call since the last script began."""
        record = self.record.with_suffix(".all")
        return record.read_text().splitlines() if record.exists() else []

    def option(self, name):
        return self.called[self.called.index(name) + 1]

    def run_dir(self, part="base2new/train_base", dataset="shapes", trainer="SEP", cfg="shapes", output=None, shots=16):
        output = output or self.root / "output"
        return output / f"{part}/{dataset}/shots_{shots}/{trainer}/{cfg}/seed1"

    def checkpoint(self, *epochs, **where):
        folder = self.run_dir(**where) / "prompt_learner"
        folder.mkdir(parents=True)
        for epoch in epochs:
            (folder / f"model.pth.tar-{epoch}").touch()

    def finish(self, accuracy=85.125, epoch=50, model_dir=None, **where):
        """Leave a result, of `model_dir` if it is a test's; without, as runs did before they recorded it."""
        folder = self.run_dir(**where)
        folder.mkdir(parents=True, exist_ok=True)
        metrics = {"trainer": "SEP", "epoch": epoch}
        if model_dir is not None:
            metrics["model_dir"] = str(model_dir)
        (folder / "metrics.json").write_text(json.dumps({**metrics, "accuracy": accuracy, "macro_f1": 3.0}, indent=2))


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)
