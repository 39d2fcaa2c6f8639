"""A short torture in a process of its own, since it forks; tests/torture.py is the long one."""

import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY
from tests.trainers.methods import METHODS


@pytest.mark.long
def test_killed_runs_end_as_undisturbed_ones():
    once = sum(row.learns for row in METHODS.values())
    command = [sys.executable, "-m", "tests.torture", "--sequences", str(once)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
