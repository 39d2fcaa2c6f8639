"""A short torture in a process of its own, since it forks; tests/torture.py is the long one."""

import subprocess
import sys

from tests.conftest import REPOSITORY


def test_killed_runs_end_as_undisturbed_ones():
    command = [sys.executable, "-m", "tests.torture", "--sequences", "8"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
