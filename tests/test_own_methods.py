"""The code of methods outside the checkout comes in whole, shadows nothing of ours, and counts as a setting."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import own_methods
import train
from dassl.config import get_cfg_default
from dassl.engine import TRAINER_REGISTRY
from harness.catalogue import with_folders
from harness.errors import UserError
from harness.method_code import code_checksum
from tests.conftest import REPOSITORY
from tools.new_method import write
from trainers import keys

TINY = {"TRAINER.MINE.N_CTX": 4, "OPTIM.MAX_EPOCH": 1}


@pytest.fixture
def mine(tmp_path):
    """A folder like CoOp; what it has registered is taken back."""
    write("mine", "CoOp", tmp_path)
    before = set(TRAINER_REGISTRY.registered_names()), set(get_cfg_default().TRAINER), get_cfg_default().TRAINER
    yield tmp_path / "mine"
    own_methods._undo(with_folders("")[0]._replace(folder="mine"), *before)


def load(folder):
    own_methods.load_method(with_folders(str(folder))[-1])


REGISTERED = "@TRAINER_REGISTRY.register()\nclass Mine"
MISTAKES = {  # (what stands in the code, what stands there instead) -> what is said
    (REGISTERED, "class Mine"): "files in .*/mine register no trainer, and method.yaml names Mine",
    (REGISTERED, "@TRAINER_REGISTRY.register()\nclass Other"): "register Other, and method.yaml names Mine",
    (REGISTERED, f"{REGISTERED}2(PromptTrainer): pass\n\n\n{REGISTERED}"): "register Mine2, Mine, and method.yaml",
    (REGISTERED, REGISTERED.replace("Mine", "CoOp")): 'mine.py, line 4.: The trainer "CoOp" is in .*trainers/coop.py',
    ('config_node = "MINE"', 'config_node = "NO"'): "Mine in .*/mine has no config_node that add_defaults has added",
    ('"MINE"', '"COOP"'): "The config node COOP in .*/mine is another method's",
    ("DEFAULTS.CSC = False", "DEFAULTS.CSC = 1 / 0"): "mine.py, line 2.: ZeroDivisionError: division by zero: mend it",
    ("DEFAULTS.CSC = False", "DEFAULTS.CSC = = 1"): "mine.py, line 2.: SyntaxError: invalid syntax: mend it",
    ("DEFAULTS.CSC = False", "import no_such_module"): "line 2.: ModuleNotFoundError: No module named 'no_such_module'",
    ("DEFAULTS.CSC = False", "raise SystemExit(3)"): "mine.py, line 2.: SystemExit: 3: mend it, or leave the method",
}


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake[1][:30])
def test_a_mistake_is_a_sentence_and_leaves_nothing(mine, mistake):
    text = (mine / "mine.py").read_text()
    assert mistake[0] in text
    (mine / "mine.py").write_text(text.replace(*mistake))
    before = TRAINER_REGISTRY.registered_names(), str(get_cfg_default())
    for _ in range(2):  # the second time, nothing of the first is in the way
        with pytest.raises(UserError, match=MISTAKES[mistake]):
            load(mine)
        assert (TRAINER_REGISTRY.registered_names(), str(get_cfg_default())) == before
        assert not [key for key in keys.RANGES if key.startswith("TRAINER.MINE.")]
        assert not [name for name in sys.modules if name.partition(".")[0] == "mine"]
    (mine / "mine.py").write_text(text)
    load(mine)
    assert "Mine" in TRAINER_REGISTRY.registered_names()


def test_its_files_are_a_package_of_its_own(mine):
    """A file may have the name of one of ours, but for those at the top, and another of the folder imports its."""
    (mine / "keys.py").write_text("N = 7\n")
    (mine / "parts").mkdir()
    (mine / "parts/__init__.py").write_text("M = 8\n")
    code = (mine / "mine.py").read_text().replace("DEFAULTS.CSC", "DEFAULTS.SUM = N + M\nDEFAULTS.CSC")
    (mine / "mine.py").write_text(f"from .keys import N\nfrom .parts import M\n{code}")
    path = list(sys.path)
    load(mine)
    assert get_cfg_default().TRAINER.MINE.SUM == 15 and sys.path == path
    assert sys.modules["mine.keys"].N == 7 and "keys" not in sys.modules and "mine" not in sys.path


def test_its_code_is_a_setting_that_nobody_sets(mine, make_trainer, tmp_path):
    load(mine)
    key = "TRAINER.MINE.CODE_CHECKSUM"
    trainer = make_trainer("Mine", *(part for pair in TINY.items() for part in pair), output=tmp_path / "run")
    assert trainer.settings[key] == code_checksum(str(mine))
    with pytest.raises(ValueError, match=f"{key} is 'other', but must be '.*', that of {mine} as it is now: put"):
        make_trainer("Mine", key, "other")


def call(command, *words, cwd):
    done = subprocess.run(
        [*command, *map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=600, env=own_environ(cwd)
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def own_environ(folder):
    own = {"OUTPUT": f"{folder}/out", "DATA": f"{folder}/data", "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    return {**os.environ, **own}


@pytest.mark.long
def test_what_a_new_user_does(tmp_path):
    """In an empty folder: a method, a line of it changed, beside CoOp in a table; and what one does with a run."""
    python, tool = [sys.executable], lambda name: REPOSITORY / f"tools/{name}.py"  # noqa: E731
    (tmp_path / "data").mkdir()
    call(python, tool("new_method"), "mine", "--like", "CoOp", cwd=tmp_path)
    code = tmp_path / "mine/mine.py"
    idea = '        losses["short"] = self.prompt_learner.ctx.square().mean()\n        return losses\n'
    code.write_text(code.read_text().replace("        return losses\n", idea))
    quick = ("--set", "OPTIM.MAX_EPOCH", 1)
    grid = "--methods coop mine --datasets shapes --seeds 1 --jobs 1 --methods-from mine".split()
    done = call(python, tool("sweep"), *grid, *quick, cwd=tmp_path)
    assert "4 runs: 4 done" in done
    rows = [line for line in call(python, tool("report"), "out", cwd=tmp_path).splitlines() if "shapes" in line]
    assert ["Mine" in row or "CoOp" in row for row in rows] == [True, True] and "—" not in "".join(rows)
    assert "4 runs, 4 finished before" in call(python, tool("sweep"), *grid, *quick, cwd=tmp_path)

    run = Path("out/base2new/train_base/shapes/shots_16/Mine/shapes/seed1")
    picture = next((tmp_path / "data").glob("**/*.png"), None) or REPOSITORY / "docs/report_page.png"
    words = ("--model-dir", run, "--methods-from", "mine")
    assert "%" in call(python, tool("predict"), picture, *words, cwd=tmp_path)
    assert "Layer 0" in call(python, tool("interpret"), *words, cwd=tmp_path)
    call(python, tool("export"), *words, "--output", "mine.safetensors", cwd=tmp_path)
    code.write_text(code.read_text() + "# other code\n")
    command = [*python, str(tool("predict")), str(picture), *map(str, words)]
    done = subprocess.run(command, cwd=tmp_path, env=own_environ(tmp_path), capture_output=True, text=True)
    assert done.returncode == 1 and "put the earlier code back, or train again" in done.stderr


@pytest.mark.long
@pytest.mark.parametrize("like", ["CoOp", "MaPLe", "CLIPLoRA"])
def test_its_test_file_is_the_battery(like, tmp_path):
    write("mine", like, tmp_path)
    (tmp_path / "elsewhere").mkdir()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "shapes or record", "../mine"]
    done = subprocess.run(command, cwd=tmp_path / "elsewhere", capture_output=True, text=True)
    assert done.returncode == 0 and "passed" in done.stdout, done.stdout[-3000:]
    assert train.main(["--trainer", "Mine"]) == 2, "nothing of it is in this process"
