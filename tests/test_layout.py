"""The house rules that a machine can check: imports go one way, trainers parse on Python 3.8, files stay small."""

import ast
import subprocess
import sys

import pytest

from harness.catalogue import METHODS
from tests.conftest import REPOSITORY

SOURCES = [p for p in REPOSITORY.glob("**/*.py") if not {".venv", "build"} & set(p.relative_to(REPOSITORY).parts)]
FILES = {method.folder for method in METHODS}  # trainers/<folder>.py
TOPS = ("tools", "benchmarks", "pretraining")  # what nothing stands on, but tests and, for the last two, tools
# Folder or file -> what it must not import, directly
FORBIDDEN = {
    "dassl": ("trainers", "datasets", "harness", "train", *TOPS),
    "datasets": ("trainers", "harness", "train", *TOPS),
    "harness": ("torch", "torchvision", "clip", "dassl", "trainers", "datasets", "train", *TOPS),
    "trainers": ("datasets", "harness", "train", *TOPS),
    "trainers/prompting": ("dassl", "trainers.base"),
    "train.py": TOPS,
    "parse_test_res.py": ("torch", "dassl", "trainers", "datasets", "train", *TOPS),
    "benchmarks": ("tools", "pretraining", "train"),
    "pretraining": ("tools", "benchmarks", "harness", "train"),
    "tools": ("tools", "train"),
}


def imported(path):
    """Dotted names of all modules that a file imports, relative ones made absolute."""
    package = path.relative_to(REPOSITORY).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            yield ".".join([*base, *([node.module] if node.module else [])])


@pytest.mark.parametrize("where", FORBIDDEN)
def test_imports_go_one_way(where):
    path = REPOSITORY / where
    files = list(path.glob("**/*.py")) if path.is_dir() else [path]
    assert files
    for file in files:
        for name in imported(file):
            wrong = [f for f in FORBIDDEN[where] if name == f or name.startswith(f + ".")]
            assert not wrong, f"{file} imports {name}"


def test_no_method_imports_another():
    for method in FILES:
        for name in imported(REPOSITORY / "trainers" / f"{method}.py"):
            assert name.split(".")[-1] not in FILES - {method}, f"{method}.py imports {name}"


def test_a_script_starts_without_torch():
    """Nor anything else that takes long: a skipped run answers at once."""
    code = "import sys; before = set(sys.modules); import harness.__main__; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert "harness" in loaded and not loaded & {"torch", "numpy", "yaml", "yacs", "tabulate", "dassl", "trainers"}


def test_trainers_parse_on_python_3_8():
    for path in (REPOSITORY / "trainers").glob("**/*.py"):
        ast.parse(path.read_text(), feature_version=(3, 8))


def test_files_stay_small():
    assert len(SOURCES) > 50
    for path in SOURCES:
        assert len(path.read_text().splitlines()) <= 400, f"{path} is longer than 400 lines: split it"


def test_nothing_is_installed_that_can_be_imported():
    setup = (REPOSITORY / "setup.py").read_text()
    assert "packages=[]" in setup and "py_modules=[]" in setup
