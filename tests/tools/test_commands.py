"""Every command runs from any folder, by its own path."""

import os
import signal
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY
from tests.harness.runs import finish

COMMANDS = [*(REPOSITORY / "tools").glob("*.py"), REPOSITORY / "train.py", REPOSITORY / "parse_test_res.py"]


@pytest.mark.long
def test_help_from_another_folder(tmp_path):
    """Each in a fork of one process, which has imported what takes long and nothing of this repository."""
    code = """
import os, runpy, sys
import numpy, torch
commands = sys.argv[1:]
for path in commands:
    pid = os.fork()
    if not pid:
        sys.argv = [path, "--help"]  # and, as with `python -P`, the command's own folder is not on the path
        runpy.run_path(path, run_name="__main__")
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), path)
"""
    command = [sys.executable, "-u", "-c", code, *map(str, COMMANDS)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.count("usage: ") == len(COMMANDS), done.stderr
    assert {f"0 {path}" for path in COMMANDS} <= set(done.stdout.splitlines()), done.stdout


def test_a_reader_who_has_gone_ends_it_in_silence(tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    finish(tmp_path / "output", "base", 1, 80.0)
    command = [sys.executable, str(REPOSITORY / "tools" / "report.py"), "output"]
    done = subprocess.run(command, cwd=tmp_path, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


@pytest.mark.parametrize("path", [*COMMANDS, REPOSITORY / "harness" / "__main__.py"], ids=lambda path: path.stem)
def test_every_command_ends_so(path):
    assert path.read_text().splitlines()[-1].startswith("    exit_with("), path.name
