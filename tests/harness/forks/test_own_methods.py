"""A method of a folder outside the checkout goes into a fork and out again."""

import os
import shutil
import subprocess
import sys

import pytest

from harness.catalogue import with_folders
from harness.errors import UserError
from harness.forks import install
from harness.forks.install import add, remove
from tests.conftest import REPOSITORY
from tests.harness.forks.trees import PACKAGE, coop, state
from tools.new_method import write

CODE = """
from dassl.engine import TRAINER_REGISTRY
from trainers import prompt_methods
from trainers.prompt_methods.mine import parts
print(TRAINER_REGISTRY.get("Mine_too").config_node, prompt_methods.mine.mine.PromptTrainer.__module__)
print(parts.f().__name__)
"""


def test_its_files_become_a_package(tmp_path, monkeypatch):
    """In which what they import of ours is that of the fork."""
    fork = coop(tmp_path / "CoOp")
    before = state(fork)
    write("mine", "MaPLe", tmp_path)
    (tmp_path / "mine/parts").mkdir()
    (tmp_path / "mine/parts/__init__.py").write_text("def f():\n    from trainers import keys\n\n    return keys\n")
    monkeypatch.setattr(install, "METHODS", with_folders(str(tmp_path / "mine")))
    add(fork, ["Mine", "SEP"], {"Mine": "Mine_too"}).carry_out()
    names = {path.relative_to(fork / PACKAGE).as_posix() for path in (fork / PACKAGE / "mine").glob("**/*.py")}
    assert names == {"mine/__init__.py", "mine/mine.py", "mine/parts/__init__.py"}
    assert {path.name for path in (fork / "scripts").iterdir()} >= {"mine_too", "sep"}
    (config,) = (fork / "configs/trainers/Mine_too").glob("*cross_datasets.yaml")
    assert "  MINE_TOO:\n" in config.read_text()
    (tmp_path / "rooms").mkdir()
    for room in ("dassl", "torchvision_cpu.py"):
        (tmp_path / "rooms" / room).symlink_to(REPOSITORY / room)
    environ = {**os.environ, "PYTHONPATH": f"{tmp_path}/rooms"}
    done = subprocess.run([sys.executable, "-c", CODE], cwd=fork, env=environ, capture_output=True, text=True)
    said = ["MINE_TOO trainers.prompt_methods.base", "trainers.prompt_methods.keys"]
    assert done.stdout.splitlines()[-2:] == said, done.stderr
    monkeypatch.undo()
    with pytest.raises(UserError, match="The fork has Mine of a folder elsewhere: name that, too, with --methods-from"):
        add(fork, ["TCP"])
    remove(fork).carry_out()
    shutil.rmtree(fork / "trainers/__pycache__", ignore_errors=True)
    assert state(fork) == before
