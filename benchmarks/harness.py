"""What harness/ itself costs: a sweep of runs that do nothing, and a report over records of runs that never were."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import count

from dassl.config import get_cfg_default
from harness.catalogue import METHODS
from harness.errors import UserError
from harness.running import grid, launch
from trainers.run.experiment import settings_of

from .config import REPOSITORY
from .table import Table

SWEPT, REPORTED = 300, 3_000  # runs
LIMITS = {"sweep": 60.0, "report": 10.0}  # seconds
JOBS = 2  # at once

TRAIN = '''\
"""In the place of train.py: a run that leaves what a finished one does, and does nothing else."""
import json
import os
from harness.command_line import given, parse_args


def main(argv):
    args = parse_args(argv)
    if not args.eval_only:
        os.makedirs(f"{args.output_dir}/prompt_learner", exist_ok=True)
        open(f"{args.output_dir}/prompt_learner/model.pth.tar-1", "w").close()
    record = {"split": "test", "accuracy": 50.0, "epoch": 1, "trained_epochs": 1, "max_epoch": 1}
    record.update(seconds=1, given=given(args), model_dir=args.model_dir)
    with open(f"{args.output_dir}/metrics.json", "w") as file:
        json.dump(record, file)
    return 0
'''


def add_arguments(parser):
    """None: files go below $TMPDIR."""


def measure(args):
    """Do 300 runs that take no time as a sweep, two at once, and report over 3,000 finished ones."""
    with tempfile.TemporaryDirectory(prefix="bench-harness-") as folder:
        taken = {"sweep": (SWEPT, sweep(folder, SWEPT)), "report": (REPORTED, report(folder, REPORTED))}
    rows = [
        [name, runs, seconds, LIMITS[name], "yes" if seconds < LIMITS[name] else "NO"]
        for name, (runs, seconds) in taken.items()
    ]
    columns = [("", ""), ("runs", ","), ("seconds", ".1f"), ("limit", ".0f"), ("kept", "")]
    return Table(f"A sweep of runs that do nothing, {JOBS} at once; a report over finished runs", columns, rows)


def sweep(folder, n):
    """Seconds of a sweep of `n` runs, each half a training and its test, in a checkout whose train.py does nothing."""
    checkout = os.path.join(folder, "checkout")
    for part in ("harness", "configs"):
        shutil.copytree(REPOSITORY / part, os.path.join(checkout, part))
    os.mkdir(os.path.join(checkout, "tools"))
    shutil.copy(REPOSITORY / "tools" / "sweep.py", os.path.join(checkout, "tools"))
    with open(os.path.join(checkout, "train.py"), "w", encoding="utf-8") as file:
        file.write(TRAIN)
    seeds = map(str, range(1, n // 2 + 1))
    what = ["--methods", "coop", "--protocols", "base2new", "--datasets", "shapes", "--seeds", *seeds]
    return seconds_of([f"{checkout}/tools/sweep.py", *what, "--jobs", str(JOBS)], n, checkout)


def report(folder, n):
    """Seconds of a report over `n` runs of every method and data set."""
    output = os.path.join(folder, "finished")
    settings = settings_of(get_cfg_default())
    for run in runs(n):
        leave(run, output, settings)
    return seconds_of([f"{REPOSITORY}/tools/report.py", output], n, output)


def runs(n):
    """The first `n` runs of all methods' base-to-new protocols on the papers' data sets, seed after seed."""
    found = []
    for seed in count(1):
        series = [grid.series_of("base2new", method, seeds=[seed]) for method in METHODS if method.has("base2new")]
        found += grid.tasks_of(series)
        if len(found) >= n:
            return found[:n]


def leave(run, output, settings):
    """What report.py reads of a finished run."""
    folder = run.folder(launch.Environment(data="", output=output))
    place = run.job.place(run.job.config(run.pairs))
    record = {
        "accuracy": 50.0 + place.seed,
        "split": "test",
        "seconds": 60.0,
        "peak_memory_mb": 1000.0,
        "learnable_parameters": 2048,
        "settings": {**settings, "SEED": place.seed},
    }
    os.makedirs(folder)
    with open(os.path.join(folder, "metrics.json"), "w", encoding="utf-8") as file:
        json.dump(record, file)


def seconds_of(command, n, folder):
    """Seconds that a command takes. Raises UserError unless it succeeds and leaves `n` runs below `folder`."""
    of_the_user = ("DATA", "OUTPUT", "CFG", "LOADEP", "FORCE", "SEEDS")
    environ = {key: value for key, value in os.environ.items() if key not in of_the_user}
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *command], env=environ, cwd=folder, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    left = sum("metrics.json" in files for _, _, files in os.walk(folder))
    if done.returncode or left != n:
        lines = done.stderr.strip().splitlines() or done.stdout.strip().splitlines()
        raise UserError(f"{os.path.basename(command[0])} left {left} of {n} runs: {lines[-1] if lines else 'no word'}")
    return seconds
