"""Methods in forks, as their users meet them: added, trained and tested by the scripts that came along, removed.

This repository's dassl/ stands in for the original, and nothing else of it is at hand there.
"""

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
    given: Path  # the folder that is named to the command
    before: dict  # its files before anything was added
    name: str  # of our trainer there
    log: Path

    def run(self, part):
        """Folder of the training, or of the test."""
        return next((self.root / "output/base2new" / part / "tiny/shots_16" / self.name).glob("*/seed1"))


@pytest.fixture(scope="module")
def forks(tmp_path_factory):
    """Kind -> Fork, with methods added of which one was trained for an epoch and tested on the new classes."""
    folder = tmp_path_factory.mktemp("forks")
    torch.save(clip_state_dict(g=GEOMETRY), folder / "clip.pt")
    _draw_images(folder / "data/tiny")
    found, runs = {}, []
    for kind, make in KINDS.items():
        own, trainer, name, options = METHODS[kind]
        root = make(folder / kind)
        fork = found[kind] = Fork(root, folder / kind, state(root), name, folder / f"{kind}.log")
        names = {trainer: name} if name != trainer else {}
        install.add(fork.given, {"SEP", "E2MIM", trainer, *TAUGHT.get(kind, ())}, names).carry_out()
        backbone = ["MODEL.BACKBONE.NAME", str(folder / "clip.pt"), "MODEL.BACKBONE.ACTIVATION", "quickgelu"]
        pairs = [*OPTIONS, *backbone, f"TRAINER.{name.upper()}.PREC", "fp32"]
        for script in ("base2new_train", "base2new_test"):
            argv = _called_with(root / f"scripts/{name.lower()}/{script}.sh", [*pairs, *options], folder)
            (root / argv[argv.index("--output-dir") + 1]).mkdir(parents=True)  # the test's script looks for it
            runs.append({"cwd": str(root), "argv": argv, "log": str(fork.log)})
        for taught, fits in TAUGHT.get(kind, {}).items():  # by what `trainer` has left, which is no config.yaml
            teacher = argv[argv.index("--model-dir") + 1]
            pairs = [*OPTIONS, *backbone, *fits, f"TRAINER.{taught.upper()}.TEACHER", teacher]
            argv = _called_with(root / f"scripts/{taught.lower()}/base2new_train.sh", pairs, folder)
            runs.append({"cwd": str(root), "argv": argv, "log": str(fork.log)})
        argv = ["train.py", "--trainer", own, "--seed", "1", "--output-dir", str(folder / f"own-{kind}")]
        runs.append({"cwd": str(root), "argv": argv, "log": str(fork.log)})
    _carry_out(runs, folder)
    return found


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


def _carry_out(runs, folder):
    (folder / "runs.json").write_text(json.dumps(runs))
    rooms = folder / "rooms"
    rooms.mkdir()
    for room in ("dassl", "torchvision_cpu.py"):
        (rooms / room).symlink_to(REPOSITORY / room)
    driver = Path(__file__).with_name("driver.py")
    command = [sys.executable, str(driver), str(folder / "runs.json")]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(rooms)})
    logs = "\n".join(Path(run["log"]).read_text()[-3000:] for run in runs[::3])
    assert done.returncode == 0, logs


@pytest.mark.parametrize("kind", KINDS)
def test_trains_and_tests_there(forks, kind, capsys):
    fork = forks[kind]
    for part, classes in (("train_base", "base"), ("test_new", "new")):
        record = json.loads((fork.run(part) / "metrics.json").read_text())
        assert (record["trainer"], record["subsample_classes"], record["n"]) == (fork.name, classes, 6)
        assert record["trained_epochs"] == 1
        assert not record["settings"]["OPTIM.STAGED_LR"]  # which DePT's train.py sets for its own
        assert parse([str(fork.run(part).parent), *(["--test-log"] if part == "test_new" else [])]) == 0
        assert f"accuracy: {record['accuracy']:.1f}0%" in capsys.readouterr().out
    assert json.loads((fork.run("test_new") / "metrics.json").read_text())["model_dir"].endswith("seed1")


def test_one_learns_from_another_there(forks):
    folder = next((forks["coop"].root / "output/base2new/train_base/tiny/shots_16/PromptKD").glob("*/seed1"))
    record = json.loads((folder / "metrics.json").read_text())
    assert (record["trained_epochs"], record["n"]) == (1, 6)
    assert record["settings"]["TRAINER.PROMPTKD.TEACHER_RUN"].startswith("SEP ")


@pytest.mark.parametrize("kind", KINDS)
def test_the_forks_own_trainer_is_as_it_was(forks, kind):
    own = [line for line in forks[kind].log.read_text().splitlines() if line.startswith("the fork's own")]
    ctx_init = "False" if kind == "nested" else "''"
    assert len(own) == 1 and own[0].endswith(f"with its own base {ctx_init}")


@pytest.mark.parametrize("kind", KINDS)
def test_undone_to_the_byte(forks, kind, tmp_path):
    fork = forks[kind]
    copy = tmp_path / "copy"
    shutil.copytree(fork.root, copy)
    assert list((copy / "trainers/prompt_methods").glob("**/__pycache__"))
    install.remove(copy).carry_out()
    for cache in copy.glob("**/__pycache__"):  # of the fork's own modules
        shutil.rmtree(cache)
    assert state(copy) == fork.before
