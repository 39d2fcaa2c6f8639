"""docs/adding_a_method.md, followed with a toy method in a copy of the repository: five places, and nothing else."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

pytestmark = pytest.mark.long
TRAINER = '''"""Toy: CoOp's context, and a loss that keeps it short (our choice, for a test)."""

from dassl.engine import TRAINER_REGISTRY

from .base import PromptTrainer
from .keys import TOKENS, WEIGHT, Key, add_defaults, method_defaults
from .prompting.model import PromptedCLIP
from .prompting.prompt_text import ContextLearner

DEFAULTS = method_defaults()
DEFAULTS.N_CTX = Key(4, TOKENS)  # context tokens (our choice)
DEFAULTS.W = Key(0.1, WEIGHT)  # weight of the context's mean square (our choice)
add_defaults("TOY", DEFAULTS)


class PromptLearner(ContextLearner):
    def __init__(self, cfg, classnames, clip_model):
        super().__init__("TRAINER.TOY.N_CTX", clip_model, classnames, cfg.TRAINER.TOY.N_CTX)


class CustomCLIP(PromptedCLIP):
    def __init__(self, cfg, classnames, clip_model):
        super().__init__(cfg, classnames, clip_model)
        self.w = cfg.TRAINER.TOY.W
        self.prompt_learner = PromptLearner(cfg, classnames, clip_model)

    def losses(self, image_features, text_features, logits, label):
        losses = super().losses(image_features, text_features, logits, label)
        losses["short"] = self.w * self.prompt_learner.ctx.square().mean()
        return losses


@TRAINER_REGISTRY.register()
class Toy(PromptTrainer):
    """A toy."""

    config_node = "TOY"
    custom_clip = CustomCLIP
'''
CATALOGUE_ROW = """    Method("toy", "Toy", "0000.00000", (
        Config("vit_b16"),
    )),
)
# fmt: on
"""
SECTION = "\n## Toy (`trainers/toy.py`, arXiv 0000.00000)\n\nloss = ce + W mean(ctx^2) [our choice].\n"


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The repository with the toy in it."""
    root = tmp_path_factory.mktemp("copy") / "repository"
    root.mkdir()
    for path in REPOSITORY.iterdir():
        if path.is_dir() and path.name[0] != "." and path.name not in ("data", "output", "build"):
            shutil.copytree(path, root / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        elif path.is_file():
            shutil.copy(path, root)

    def edit(path, old, new):
        text = (root / path).read_text()
        assert text.count(old) == 1, path
        (root / path).write_text(text.replace(old, new))

    (root / "trainers/toy.py").write_text(TRAINER)
    shutil.copytree(root / "configs/trainers/KgCoOp", root / "configs/trainers/Toy")
    (root / "configs/trainers/Toy/vit_b16_ep100_ctxv1.yaml").rename(root / "configs/trainers/Toy/vit_b16.yaml")
    edit("harness/catalogue.py", ")\n# fmt: on\n", CATALOGUE_ROW)
    edit("tests/trainers/methods.py", "\n}\n", '\n    "toy": Method("Toy", "TOY"),\n}\n')
    with open(root / "docs/methods.md", "a", encoding="utf-8") as page:
        page.write(SECTION)
    run(root, "tools/write_generated.py")
    return root


def run(root, *command, **env):
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHON": sys.executable, **env}
    command = command if command[0] == "bash" else [sys.executable, *command]
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-3000:]
    return done.stdout


def test_it_passes_the_battery_and_every_test_that_reads_the_catalogue(copy):
    pytest_of_toy = ("-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert "passed" in run(copy, *pytest_of_toy, "tests/trainers/test_battery.py", "-k", "toy")
    others = "tests/test_layout.py tests/harness/test_catalogue.py tests/trainers/test_keys.py"
    others += " tests/tools/test_write_generated.py tests/scripts/test_doorbells.py::test_scripts_are_doorbells"
    assert "passed" in run(copy, *pytest_of_toy, *others.split())


def test_its_scripts_run_and_the_table_has_it(copy, caltech_stub, weights, tmp_path):
    backbone = f"MODEL.BACKBONE.NAME {weights['vit']} MODEL.BACKBONE.ACTIVATION quickgelu"
    pairs = f"{backbone} INPUT.SIZE (32,32) OPTIM.MAX_EPOCH 1 DATALOADER.NUM_WORKERS 0"
    folders = {"DATA": str(caltech_stub), "OUTPUT": str(tmp_path / "out"), "SHOTS": "2"}
    for half in ("train", "test"):
        run(copy, "bash", f"scripts/toy/base2new_{half}.sh", "caltech101", "1", *pairs.split(), **folders)
    report = run(copy, "tools/report.py", str(tmp_path / "out"))
    (row,) = [line for line in report.splitlines() if "| Toy " in line]
    assert "—" not in row
    for path in ("README.md", "docs/config.md"):
        assert "Toy" in (copy / path).read_text()
