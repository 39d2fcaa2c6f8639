"""Every command runs from any folder, by its own path."""

import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

COMMANDS = [*(REPOSITORY / "tools").glob("*.py"), REPOSITORY / "train.py", REPOSITORY / "parse_test_res.py"]


@pytest.mark.parametrize("path", sorted(COMMANDS), ids=lambda path: path.stem)
def test_help_from_another_folder(path, tmp_path):
    done = subprocess.run([sys.executable, str(path), "--help"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "usage: " in done.stdout, done.stderr
