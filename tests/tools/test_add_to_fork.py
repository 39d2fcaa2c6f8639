"""The command: what it says, and how it ends. What it does is tested in tests/harness/forks/."""

import os
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY
from tests.harness.forks.trees import coop, dept, state


def command(*args, cwd=None):
    tool = [sys.executable, str(REPOSITORY / "tools/add_to_fork.py"), *map(str, args)]
    return subprocess.run(tool, cwd=cwd, capture_output=True, text=True)


def test_there_and_back(tmp_path):
    fork = dept(tmp_path / "DePT")
    before = state(fork)
    would = command(".", "--dry-run", cwd=fork)
    assert would.returncode == 0 and state(fork) == before
    done = command(".", cwd=fork)
    assert done.returncode == 0 and state(fork) != before
    assert would.stdout.replace("would ", "") == done.stdout
    for line in (
        "  write configs/trainers/SEP/: vit_b16_ep10_batch128.yaml vit_b16_ep3_batch32.yaml vit_b16_ep50_batch32.yaml "
        "vit_l14_ep10_batch128.yaml vit_l14_ep50_batch32.yaml",
        "  write scripts/e2mim/: base2new_train.sh base2new_test.sh xd_train.sh xd_test.sh few_shot.sh",
        "  add in train.py, after line 10: import trainers.prompt_methods",
        "  DATA=/path/to/datasets bash ./scripts/sep/base2new_train.sh tiny 1",
        "Undo: python tools/add_to_fork.py . --remove",
    ):
        assert line in done.stdout.splitlines()
    assert "restore_nodes(cfg)" in done.stdout
    written = [name for line in done.stdout.splitlines() if line.startswith("  write ") for name in line.split()[2:]]
    assert len(written) == len([1 for path in state(fork).keys() - before.keys() if (fork / path).is_file()])
    again = command(".", cwd=fork)
    assert again.stdout == ".\n  SEP, E2MIM: all there, nothing to change\n"
    undone = command(".", "--remove", cwd=fork)
    assert undone.returncode == 0 and state(fork) == before
    assert "  remove in train.py: import trainers.prompt_methods" in undone.stdout.splitlines()


@pytest.mark.parametrize("name", ["Co Op", "it's", 'a;b $(x) & "c"', "Füße\t*"])
def test_what_it_prints_can_be_run_as_it_is(tmp_path, name):
    """In a fork of any name: its first run, and to undo it."""
    fork = coop(tmp_path / name)
    before = state(fork)
    lines = command(name, cwd=tmp_path).stdout.splitlines()
    first, undo = lines[-2], lines[-1].partition("Undo: ")[2].replace("tools/", f"{REPOSITORY}/tools/")
    (tmp_path / "python").write_text('#!/bin/sh\n[ "$1" = train.py ] && pwd || exec "$REAL" "$@"\n')
    (tmp_path / "python").chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "REAL": sys.executable}
    options = {"cwd": tmp_path, "env": env, "capture_output": True, "text": True}
    assert str(fork) in subprocess.run(["bash", "-c", first], **options).stdout.splitlines()
    assert subprocess.run(["bash", "-c", undo], **options).returncode == 0 and state(fork) == before


def test_by_hand_where_there_is_no_place(tmp_path):
    fork = coop(tmp_path / "CoOp", imports="\n")
    done = command(fork)
    assert done.returncode == 2 and not done.stdout
    error, by_hand, *steps = done.stderr.splitlines()
    assert error.startswith("error: ") and "imports no trainers at its top level" in error
    assert by_hand == "By hand:" and len(steps) == 4
    assert "import trainers.prompt_methods" in steps[2]


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["--name", "SEP"], "is not NAME=NEW"),
        (["--trainers", "Nothing"], 'error: Unknown trainer "Nothing"'),
        (["--trainers", "CoOp"], "error: The fork has a trainer CoOp of its own"),
        (["--remove"], "nothing to remove"),
    ],
)
def test_mistakes(tmp_path, args, sentence):
    fork = coop(tmp_path / "CoOp")
    before = state(fork)
    done = command(fork, *args)
    assert done.returncode == 2 and sentence in done.stderr and "Traceback" not in done.stderr
    assert "By hand" not in done.stderr and state(fork) == before
