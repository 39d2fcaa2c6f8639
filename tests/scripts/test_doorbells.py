"""The scripts as bash runs them: what they become, how they end, and that they are what the catalogue says.

What they decide is tested in tests/harness/, in process. Here a checkout has a stand-in for train.py that notes how it
was called and does what the environment asks of it.
"""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.catalogue import METHODS
from tests.conftest import REPOSITORY
from tests.harness.ground import IN_A_TERMINAL, wait_for

TRAIN = """\
import os, sys, time
with open(os.environ["RECORD"], "a") as file:
    file.write("\\0".join([os.getcwd(), *sys.argv]) + "\\n")
time.sleep(float(os.environ.get("SLEEP", 0)))
sys.exit(int(os.environ.get("EXIT", 0)))
"""


class Scripts:
    def __init__(self, folder):
        self.root, self.cwd, self.record = folder / "my checkout", folder / "some where", folder / "record"
        self.cwd.mkdir()
        for part in ("scripts", "harness", "configs"):
            shutil.copytree(REPOSITORY / part, self.root / part, ignore=shutil.ignore_patterns("__pycache__"))
        (self.root / "train.py").write_text(TRAIN)

    def options(self, script, *args, cwd=None, **env):
        clean = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "TMPDIR")}
        clean.update({"PYTHON": sys.executable, "RECORD": str(self.record), **{k: str(v) for k, v in env.items()}})
        cwd = cwd or self.cwd
        command = ["bash", os.path.relpath(self.root / "scripts" / script, cwd), *map(str, args)]
        return {"args": command, "cwd": cwd, "env": clean, "stdin": subprocess.DEVNULL}

    def __call__(self, *args, **kwargs):
        self.record.unlink(missing_ok=True)
        return subprocess.run(**self.options(*args, **kwargs), capture_output=True, text=True, timeout=60)

    def start(self, *args, **kwargs):
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen(**self.options(*args, **kwargs), **pipes, **IN_A_TERMINAL)
        wait_for(lambda: self.called)
        return process

    @property
    def called(self):
        """Calls of train.py: lists of working folder, train.py, arguments."""
        return [line.split("\0") for line in self.record.read_text().splitlines()] if self.record.exists() else []


@pytest.fixture
def scripts(tmp_path):
    return Scripts(tmp_path)


def test_a_script_becomes_train_py(scripts):
    result = scripts(
        "sep/base2new_train.sh", "caltech101", 1, "MODEL.BACKBONE.NAME", "my weights/ViT B.pt", DATA="../d"
    )
    assert result.returncode == 0, result.stderr
    ((cwd, train, *arguments),) = scripts.called
    assert (cwd, train) == (str(scripts.cwd), str(scripts.root / "train.py"))
    assert arguments[:2] == ["--root", f"{scripts.cwd}/../d"] and "my weights/ViT B.pt" in arguments
    assert result.stdout == f"training: {arguments[arguments.index('--output-dir') + 1]}\n"


def test_one_script_has_all_of_them(scripts):
    calls = []
    for script, *words in (["any.sh", "sep", "base2new_train"], ["sep/base2new_train.sh"]):
        assert scripts(script, *words, "shapes", 1).returncode == 0
        calls += scripts.called
    assert calls[0] == calls[1]
    assert scripts("any.sh").stderr.startswith("usage: bash scripts/any.sh METHOD SCRIPT [ARGUMENT ...]")


def test_runs_from_any_directory(scripts):
    for cwd in (scripts.root, scripts.root / "scripts/sep", Path("/")):
        result = scripts("sep/base2new_train.sh", "shapes", 1, cwd=cwd, CDPATH=scripts.root)
        assert result.returncode == 0, result.stderr
        (call,) = scripts.called
        assert call[:2] == [str(cwd), str(scripts.root / "train.py")]


def test_exit_code_passes_through(scripts):
    assert scripts("sep/base2new_train.sh", "shapes", 1, EXIT=7).returncode == 7
    failed = scripts("sep/reproduce.sh", EXIT=130)  # train.py's exit code for Ctrl-C
    assert failed.returncode == 130 and len(scripts.called) == 1


def test_wrong_arguments_are_said_on_stderr(scripts):
    result = scripts("coop/base2new_train.sh", "shapes")
    assert (result.returncode, result.stdout) == (2, "") and not scripts.called
    assert result.stderr == "usage: bash scripts/coop/base2new_train.sh DATASET SEED [KEY VALUE ...]\n"
    result = scripts("coop/base2new_train.sh", "shape", 1)
    assert result.returncode == 2 and result.stderr.startswith(
        'error: no data set "shape" in configs/datasets; nearest'
    )


def test_the_checkouts_environment_is_the_default_interpreter(scripts):
    venv = scripts.root / ".venv/bin/python"
    venv.parent.mkdir(parents=True)
    venv.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    venv.chmod(0o755)
    assert scripts("sep/base2new_train.sh", "shapes", 1, PYTHON="").returncode == 0 and scripts.called
    result = scripts("sep/base2new_train.sh", "shapes", 1, PYTHON="no-such-python")
    assert result.returncode == 1 and "no-such-python" in result.stderr and not scripts.called


def test_a_signal_to_the_script_reaches_train_py(scripts):
    process = scripts.start("sep/base2new_train.sh", "shapes", 1, SLEEP=20)
    process.terminate()  # the script has become train.py, so there is no child to leave behind
    assert process.wait(timeout=10) == -signal.SIGTERM


def test_ctrl_c_stops_a_whole_protocol(scripts):
    process = scripts.start("sep/reproduce.sh", SLEEP=20)
    os.killpg(process.pid, signal.SIGINT)  # to all processes, as a terminal sends it
    code, said = process.wait(timeout=10), process.stderr.read()
    assert code == 130 and "stopped at run 1 of" in said and len(scripts.called) == 1, said


def test_a_killed_run_is_a_failure_of_the_protocol(scripts):
    process = scripts.start("sep/reproduce.sh", SLEEP=20)
    subprocess.run(["pkill", "-KILL", "-P", str(process.pid)], check=True)
    assert process.wait(timeout=10) == 128 + signal.SIGKILL and len(scripts.called) == 1


# ---- the real tree -----------------------------------------------------------------------------------------


def test_scripts_are_doorbells():
    found = {path.relative_to(REPOSITORY / "scripts").as_posix() for path in REPOSITORY.glob("scripts/**/*.sh")}
    names = {"xd": ["xd_train", "xd_test"], "few_shot": ["few_shot"]}
    names["base2new"] = ["base2new_train", "base2new_test", "base2new_joint"]
    expected = {
        f"{method.folder}/{name}.sh"
        for method in METHODS
        for protocol, scripts in names.items()
        for name in [*scripts, "reproduce"]
        if method.has(protocol)
    } - {"promptkd/xd_train.sh"}  # it is trained on each target
    assert found == {"common.sh", "any.sh", *expected}
    for path in found - {"common.sh"}:
        assert len((REPOSITORY / "scripts" / path).read_text().splitlines()) == 3
    assert len((REPOSITORY / "scripts/common.sh").read_text().splitlines()) <= 60
