"""Methods in forks, as their users meet them: added, trained and tested by the scripts that came along, removed.

This repository's dassl/ stands in for the original, and nothing else of it is at hand there.
"""

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from harness.forks import install
from parse_test_res import main as parse
from tests.conftest import REPOSITORY
from tests.golden.formula import clip_state_dict
from tests.harness.forks.trees import KINDS, state
from tests.tiny import GEOMETRY

pytestmark = pytest.mark.long
METHODS = {  # kind of fork -> its own trainer, ours, the name of ours there, and options that fit the tiny CLIP
    "coop": ("CoOp", "SEP", "SEP", ()),
    "maple": ("MaPLe", "MaPLe", "MaPLe_ours", ("TRAINER.MAPLE_OURS.PROMPT_DEPTH", "2")),
    "dept": ("CoOp", "E2MIM", "E2MIM", ()),
    "nested": ("KgCoOp", "CoOp", "CoOp_ours", ("TRAINER.COOP_OURS.N_CTX", "4")),
    "sep": ("SEP", "SEP", "SEP_ours", ()),
}
OPTIONS = "INPUT.SIZE (32,32) OPTIM.MAX_EPOCH 1 DATALOADER.NUM_WORKERS 0 DATALOADER.TRAIN_X.BATCH_SIZE 4".split()
TAUGHT = {"coop": {"PromptKD": "TRAINER.PROMPTKD.TEACHER_DIM 32 TRAINER.PROMPTKD.PROMPT_DEPTH_VISION 3".split()}}


class Fork(NamedTuple):
    root: Path
    before: dict  # its files before anything was added
    name: str  # of our trainer there
    log: Path

    def run(self, part, name=""):
        """Folder of the training, or of the test."""
        return next((self.root / "output/base2new" / part / "tiny/shots_16" / (name or self.name)).glob("*/seed1"))


@pytest.fixture(scope="module")
def fork(tmp_path_factory):
    """fork(kind) -> Fork, with methods added of which one was trained for an epoch and tested on the new classes."""
    folder = tmp_path_factory.mktemp("forks")
    torch.save(clip_state_dict(g=GEOMETRY), folder / "clip.pt")
    _draw_images(folder / "data/tiny")
    rooms = folder / "rooms"
    rooms.mkdir()
    for room in ("dassl", "torchvision_cpu.py"):
        (rooms / room).symlink_to(REPOSITORY / room)
    command = [sys.executable, str(Path(__file__).with_name("driver.py"))]
    environment = {**os.environ, "PYTHONPATH": str(rooms)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, text=True, **pipes) as driver:
        yield functools.lru_cache(maxsize=None)(lambda kind: _made(kind, folder, driver))
        driver.stdin.close()


def _made(kind, folder, driver):
    own, trainer, name, options = METHODS[kind]
    root = KINDS[kind](folder / kind)
    fork = Fork(root, state(root), name, folder / f"{kind}.log")
    names = {trainer: name} if name != trainer else {}
    install.add(folder / kind, {"SEP", "E2MIM", trainer, *TAUGHT.get(kind, ())}, names).carry_out()
    backbone = ["MODEL.BACKBONE.NAME", str(folder / "clip.pt"), "MODEL.BACKBONE.ACTIVATION", "quickgelu"]
    pairs = [*OPTIONS, *backbone, f"TRAINER.{name.upper()}.PREC", "fp32", *options]

    def run(argv):
        driver.stdin.write(json.dumps({"cwd": str(root), "argv": argv, "log": str(fork.log)}) + "\n")
        driver.stdin.flush()
        assert driver.stdout.readline() == "0\n", fork.log.read_text()[-3000:]

    for script in ("base2new_train", "base2new_test"):
        run(_called_with(root / f"scripts/{name.lower()}/{script}.sh", pairs, folder))
    for taught, fits in TAUGHT.get(kind, {}).items():  # by what `trainer` has left, which is no config.yaml
        pairs = [*OPTIONS, *backbone, *fits, f"TRAINER.{taught.upper()}.TEACHER", str(fork.run("train_base"))]
        run(_called_with(root / f"scripts/{taught.lower()}/base2new_train.sh", pairs, folder))
    run(["train.py", "--trainer", own, "--seed", "1", "--output-dir", str(folder / f"own-{kind}")])
    return fork


def _draw_images(root):
    for label in range(6):
        (root / f"class {label}").mkdir(parents=True)
        for i in range(6):
            pixels = np.random.RandomState(10 * label + i).randint(0, 255, (32, 32, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(root / f"class {label}/{i}.png")


def _called_with(script, pairs, folder):
    """The command line of train.py that a script of the fork calls."""
    stand_in = folder / "bin/python"
    stand_in.parent.mkdir(exist_ok=True)
    stand_in.write_text('#!/bin/sh\nprintf "%s\\n" "$@" >"$RECORD"\n')
    stand_in.chmod(0o755)
    called = folder / "called"
    env = {"PATH": f"{stand_in.parent}:{os.environ['PATH']}", "RECORD": str(called), "DATA": f"{folder}/data"}
    subprocess.run(["bash", str(script), "tiny", "1", *pairs], env=env, check=True)
    return called.read_text().splitlines()


@pytest.mark.parametrize("kind", KINDS)
def test_trains_and_tests_there(fork, kind, capsys):
    fork = fork(kind)
    for part, classes in (("train_base", "base"), ("test_new", "new")):
        record = json.loads((fork.run(part) / "metrics.json").read_text())
        assert (record["trainer"], record["subsample_classes"], record["n"]) == (fork.name, classes, 6)
        assert record["trained_epochs"] == 1
        assert not record["settings"]["OPTIM.STAGED_LR"]  # which DePT's train.py sets for its own
        assert parse([str(fork.run(part).parent), *(["--test-log"] if part == "test_new" else [])]) == 0
        assert f"accuracy: {record['accuracy']:.1f}0%" in capsys.readouterr().out
    assert json.loads((fork.run("test_new") / "metrics.json").read_text())["model_dir"].endswith("seed1")


def test_one_learns_from_another_there(fork):
    record = json.loads((fork("coop").run("train_base", "PromptKD") / "metrics.json").read_text())
    assert (record["trained_epochs"], record["n"]) == (1, 6)
    assert record["settings"]["TRAINER.PROMPTKD.TEACHER_RUN"].startswith("SEP ")


@pytest.mark.parametrize("kind", KINDS)
def test_the_forks_own_trainer_is_as_it_was(fork, kind):
    own = [line for line in fork(kind).log.read_text().splitlines() if line.startswith("the fork's own")]
    ctx_init = "False" if kind == "nested" else "''"
    assert len(own) == 1 and own[0].endswith(f"with its own base {ctx_init}")


@pytest.mark.parametrize("kind", KINDS)
def test_undone_to_the_byte(fork, kind, tmp_path):
    fork = fork(kind)
    copy = tmp_path / "copy"
    shutil.copytree(fork.root, copy)
    assert list((copy / "trainers/prompt_methods").glob("**/__pycache__"))
    install.remove(copy).carry_out()
    for cache in copy.glob("**/__pycache__"):  # of the fork's own modules
        shutil.rmtree(cache)
    assert state(copy) == fork.before
