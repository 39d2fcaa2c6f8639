"""The house rules that a machine can check: imports go one way, trainers parse on Python 3.8, files stay small."""

import ast
import subprocess

import pytest

from tests.conftest import REPOSITORY

SOURCES = [p for p in REPOSITORY.glob("**/*.py") if not {".venv", "build"} & set(p.relative_to(REPOSITORY).parts)]
METHODS = {"sep", "e2mim", "zsclip", "coop", "cocoop", "kgcoop", "prograd", "maple", "promptsrc", "tcp"}


def imported(path):
    """Dotted names of all modules that a file imports, relative ones made absolute."""
    package = path.relative_to(REPOSITORY).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            yield ".".join([*base, *([node.module] if node.module else [])])


def forbidden(folder):
    return {
        "dassl": ("trainers", "datasets", "tools", "train"),
        "datasets": ("trainers", "tools", "train"),
        "trainers": ("tools", "train"),
        "trainers/prompting": ("dassl", "tools", "train", "trainers.base"),
    }[folder]


@pytest.mark.parametrize("folder", ["dassl", "datasets", "trainers", "trainers/prompting"])
def test_imports_go_one_way(folder):
    for path in (REPOSITORY / folder).glob("**/*.py"):
        for name in imported(path):
            assert not any(name == f or name.startswith(f + ".") for f in forbidden(folder)), f"{path} imports {name}"


def test_no_method_imports_another():
    for method in METHODS:
        for name in imported(REPOSITORY / "trainers" / f"{method}.py"):
            assert name.split(".")[-1] not in METHODS - {method}, f"{method}.py imports {name}"


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


def test_shell_scripts_parse():
    for path in REPOSITORY.glob("scripts/**/*.sh"):
        subprocess.run(["bash", "-n", str(path)], check=True)
