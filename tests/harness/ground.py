"""A checkout in which a sweep has short, made-up runs to do: train.py is a stand-in that keeps a journal."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter

from tests.conftest import REPOSITORY

TRAIN = '''\
"""Trainings are three epochs of EPOCH seconds each, resumed; what FAIL names fails so
often, with exit code 7."""
import fcntl, glob, json, os, time
from harness.command_line import given, parse_args
from harness.running.lock import Locked, locked

JOURNAL = os.environ["JOURNAL"]


def note(*words):
    with open(JOURNAL, "a") as file:
        file.write(" ".join(map(str, words)) + "\\n")


def main(argv):
    args = parse_args(argv)
    try:
        with locked(args.output_dir):
            return work(args, args.output_dir)
    except Locked as error:
        print(f"error: {error}")
        return 1


def work(args, folder):
    run = folder.split("/output/")[1]
    busy = open(f"{folder}/busy", "w")
    try:
        fcntl.flock(busy, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        note("overlap", run)
    devices = os.environ.get("CUDA_VISIBLE_DEVICES", "unset") or "none"
    note("start", run, devices, os.environ.get("OMP_NUM_THREADS", "unset"), os.getcwd())
    print("working on", run)
    name, _, times = os.environ.get("FAIL", "").partition(":")
    if name and name in run and open(JOURNAL).read().count(f"start {run} ") <= int(times):
        print("error: this run is to fail")
        return 7
    os.makedirs(f"{folder}/prompt_learner", exist_ok=True)
    epochs = [] if args.eval_only else range(len(glob.glob(f"{folder}/prompt_learner/*")) + 1, 4)
    for epoch in epochs:
        time.sleep(float(os.environ.get("EPOCH", 0)))
        open(f"{folder}/prompt_learner/model.pth.tar-{epoch}", "w").close()
    record = {"split": "test", "accuracy": sum(map(ord, run)) % 97, "epoch": 3, "trained_epochs": 3, "max_epoch": 3}
    record.update(seconds=60, given=given(args), model_dir=args.model_dir)
    with open(f"{folder}/metrics.new", "w") as file:
        json.dump(record, file)
    note("end", run)
    os.replace(f"{folder}/metrics.new", f"{folder}/metrics.json")
    return 0
'''


# For Popen: a group of its own, and SIGINT as a shell leaves it. Whoever started the tests in the background has had it
# ignored, which children inherit
IN_A_TERMINAL = {
    "start_new_session": True,
    "preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
}


def wait_for(what, seconds=60):
    give_up = time.monotonic() + seconds
    while not what() and time.monotonic() < give_up:
        time.sleep(0.02)
    assert what()


class Ground:
    def __init__(self, folder):
        self.root, self.cwd = folder / "my checkout", folder / "some where"
        self.output, self.journal_file = self.root / "output", folder / "journal"
        self.cwd.mkdir()
        for part in ("harness", "configs"):
            shutil.copytree(REPOSITORY / part, self.root / part, ignore=shutil.ignore_patterns("__pycache__"))
        (self.root / "tools").mkdir()
        shutil.copy(REPOSITORY / "tools/sweep.py", self.root / "tools")
        (self.root / "train.py").write_text(TRAIN)
        self.environ = {}  # of every sweep

    def options(self, *arguments, **env):
        kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "TMPDIR", "SLURM_CONF") if key in os.environ}
        given = {"JOURNAL": self.journal_file, **self.environ, **env}
        command = [sys.executable, str(self.root / "tools/sweep.py"), *map(str, arguments)]
        return {"args": command, "cwd": self.cwd, "env": {**kept, **{k: str(v) for k, v in given.items()}}}

    def __call__(self, *arguments, **env):
        return subprocess.run(**self.options(*arguments, **env), capture_output=True, text=True, timeout=120)

    def start(self, *arguments, **env):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(**self.options(*arguments, **env), **pipes, **IN_A_TERMINAL)

    # ---- what has happened ----

    def journal(self, word):
        """The lines of the journal that begin with a word, without it: lists of words."""
        lines = self.journal_file.read_text().splitlines() if self.journal_file.exists() else []
        return [line.split(maxsplit=4)[1:] for line in lines if line.startswith(f"{word} ")]

    def times(self, word):
        return Counter(run for run, *_ in self.journal(word))

    def results(self):
        """{run: accuracy} of what has a result."""
        found = self.output.glob("**/metrics.json")
        return {str(path.parent.relative_to(self.output)): json.loads(path.read_text())["accuracy"] for path in found}
