"""Start of a run on Shapes until its first step is done, by stages."""

import json
import os
import subprocess
import sys
import tempfile
import time
from statistics import median

from harness.errors import UserError

from .config import DATA, REPOSITORY
from .table import Table

PROGRAM = REPOSITORY / "benchmarks" / "first_step.py"


def add_arguments(parser):
    parser.add_argument("--trainer", default="CoOp", metavar="NAME")
    parser.add_argument("--root", default=DATA, help="root of the data sets")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--against", metavar="FOLDER", help="another checkout, whose runs take turns with this one's")


def measure(args):
    """Time a run until its first step, each time in a fresh process: imports, data set, model, first batch and step."""
    checkouts = [str(REPOSITORY), *([os.path.abspath(args.against)] if args.against else [])]
    taken = {checkout: [] for checkout in checkouts}
    for i in range(args.rounds + 1):  # the first round warms up: the disk, and Shapes, which is drawn once
        for checkout in checkouts:
            stages = start(checkout, args.trainer, os.path.abspath(args.root))
            if i:
                taken[checkout].append(stages)
    medians = {checkout: medians_of(rounds) for checkout, rounds in taken.items()}
    return table_of(medians, f"Start of a run, {args.trainer} on Shapes, seconds (medians of {args.rounds})")


def start(checkout, trainer, root):
    """Seconds of each stage of a run: {stage: (CPU, wall)}, "all" last."""
    with tempfile.TemporaryDirectory() as output:
        command = (
            f"--seed 1 --trainer {trainer} --dataset-config-file configs/datasets/shapes.yaml "
            f"--config-file configs/trainers/{trainer}/shapes.yaml"
        )
        pairs = ["--root", root, "--output-dir", output, *"DATASET.NUM_SHOTS 16 DATASET.SUBSAMPLE_CLASSES base".split()]
        program = [sys.executable, str(PROGRAM), checkout, str(time.time()), *command.split(), *pairs]
        done = subprocess.run(program, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"no run started in {checkout}: {done.stderr.strip().splitlines()[-1]}")
    return stages_of(json.loads(done.stdout))


def stages_of(marks):
    """From times since the start to those of each stage."""
    stages, before = {}, (0, 0)
    for stage, times in marks.items():
        stages[stage] = tuple(now - then for now, then in zip(times, before))
        before = times
    return {**stages, "all": tuple(before)}


def medians_of(rounds):
    return {stage: tuple(map(median, zip(*(stages[stage] for stages in rounds)))) for stage in rounds[0]}


def table_of(medians, title):
    """`medians`: {checkout: {stage: (CPU, wall)}}, this one's first."""
    ours, *others = medians.values()
    columns = [("", ""), ("CPU", ".2f"), ("wall", ".2f")]
    if not others:
        return Table(title, columns, [[stage, *times] for stage, times in ours.items()])
    rows = [
        [stage, *times, *theirs, *(mine / other for mine, other in zip(times, theirs))]
        for (stage, times), theirs in zip(ours.items(), others[0].values())
    ]
    columns += [("CPU before", ".2f"), ("wall before", ".2f"), ("CPU / before", ".2f"), ("wall / before", ".2f")]
    return Table(f"{title}; before: {list(medians)[1]}", columns, rows)
