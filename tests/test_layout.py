"""The house rules that a machine can check: imports go one way, trainers parse on Python 3.8, files stay small."""

import ast
import graphlib
import re
import subprocess
from collections import defaultdict

import pytest

from harness.catalogue import METHODS
from tests.conftest import REPOSITORY, python

SOURCES = [p for p in REPOSITORY.glob("**/*.py") if not {".venv", "build"} & set(p.relative_to(REPOSITORY).parts)]
FILES = {method.folder for method in METHODS}  # trainers/<folder>.py
# What nothing stands on, but tests and, of those that are no command, commands; and doctor on benchmarks
TOPS = ("tools", "train", "doctor", "benchmarks", "pretraining")
ROOMS = ("datasets", "harness", "foreign", "inference", "own_methods", "zoo")
# Folder or file -> what it must not import, directly
FORBIDDEN = {
    "dassl": ("trainers", *ROOMS, *TOPS),
    "datasets": ("trainers", *ROOMS[1:], *TOPS),
    "harness": ("torch", "torchvision", "clip", "dassl", "trainers", "datasets", *ROOMS[2:], *TOPS),
    "trainers": (*ROOMS, *TOPS),
    "trainers/prompting": ("dassl", "trainers.base", "trainers.run", "trainers.features"),
    "trainers/files": ("dassl", "trainers.base", "trainers.run", "trainers.features", "trainers.backbone"),
    "trainers/backbone": ("dassl", "trainers.base", "trainers.run", "trainers.features", "trainers.prompting"),
    "foreign": ("datasets", "own_methods", "inference", "zoo", *TOPS),
    "own_methods.py": ("datasets", "inference", "zoo", *TOPS),
    "inference": ("datasets", "harness", "foreign", "zoo", *TOPS),
    "zoo": ("datasets", "foreign", "inference", *TOPS),
    "train.py": ("inference", "zoo", "tools", "doctor", "benchmarks", "pretraining"),
    "parse_test_res.py": ("torch", "dassl", "trainers", *ROOMS[:1], *ROOMS[2:], *TOPS),
    "doctor": ("tools", "train", "pretraining", "zoo"),
    "benchmarks": ("tools", "doctor", "pretraining"),
    "pretraining": ("tools", "doctor", "benchmarks", "harness", "train"),
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
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def test_no_circles():
    """Nor between the folders of trainers/ and of harness/, each as a whole."""
    modules = {".".join(p.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__"): p for p in SOURCES}
    edges = {  # a package that a file lies in stands for its other files, which are named too
        name: {m for m in imported(path) if m in modules and not f"{name}.".startswith(f"{m}.")}
        for name, path in modules.items()
    }
    rooms = defaultdict(set)
    for name, others in edges.items():
        room = tuple(name.split(".")[:2])
        if name.startswith(("trainers.", "harness.")) and (REPOSITORY / "/".join(room)).is_dir():
            rooms[room] |= {tuple(other.split(".")[:2]) for other in others} - {room}
    for graph in (edges, rooms):
        list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError


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
    loaded = {name.split(".")[0] for name in python(code).split()}
    assert "harness" in loaded and not loaded & {"torch", "numpy", "yaml", "yacs", "tabulate", "dassl", "trainers"}


def test_a_run_starts_without_what_takes_long():
    """Nor does a step: torch._dynamo takes longer to import than PyTorch, and SGD's step asks for it."""
    code = """
import sys, torch, train
from dassl.config import get_cfg_default
from dassl.optim import build_optimizer
layer, options = torch.nn.Linear(2, 1), get_cfg_default().OPTIM
for options.NAME in ("sgd", "adam", "adamw", "rmsprop", "radam"):
    optimizer = build_optimizer(layer, options)
    optimizer.zero_grad()
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
print(*sys.modules)
"""
    loaded = set(python(code).split())
    slow = {"torch._dynamo", "sklearn", "scipy", "matplotlib", "tabulate", "torchvision.models.resnet"}
    assert "trainers.sep" in loaded and not slow & loaded


def test_trainers_parse_on_python_3_8():
    for path in (REPOSITORY / "trainers").glob("**/*.py"):
        ast.parse(path.read_text(), feature_version=(3, 8))


def test_files_are_written_whole():
    """By harness/whole_file.py and trainers/files/whole_files.py, but for a lock and a console, which grow."""
    writes = re.compile(r"""\.write_(text|bytes)\(|\bopen\([^()]*?(\([^()]*\)[^()]*?)*,\s*(mode=)?["'][wxa]""")
    by_hand = {
        path.relative_to(REPOSITORY).as_posix()
        for room in ("harness", "tools", "doctor", "inference", "zoo")
        for path in (REPOSITORY / room).glob("**/*.py")
        if writes.search(path.read_text())
    }
    known = {f"harness/{name}.py" for name in ("whole_file", "running/lock", "running/worker")}
    assert by_hand == known | {"inference/features_file.py"}  # members of an archive


def test_checkouts_have_the_bytes_that_were_committed(tmp_path):
    """Also where git is told to write CRLF, which bash would run no script with."""
    names = [".gitattributes", "scripts/sep/few_shot.sh", "train.py", "configs/datasets/dtd.yaml"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((REPOSITORY / name).read_bytes())
    for command in ("init -q", "config core.autocrlf true", "add ."):
        subprocess.run(["git", *command.split()], cwd=tmp_path, check=True)
    for name in names:
        (tmp_path / name).unlink()
    subprocess.run(["git", "checkout", "-q", "."], cwd=tmp_path, check=True)
    assert all((tmp_path / name).read_bytes() == (REPOSITORY / name).read_bytes() for name in names)


def test_files_stay_small():
    assert len(SOURCES) > 50
    for path in SOURCES:
        assert len(path.read_text().splitlines()) <= 400, f"{path} is longer than 400 lines: split it"


def test_folders_stay_small():
    for folder in {path.parent for path in SOURCES if path.parts[-2] != "trainers" and "tests" not in path.parts}:
        n = len(list(folder.glob("*.py")))
        assert n <= 22 or folder.name == "datasets", f"{folder} has {n} files: divide it by what one does there"


def test_nothing_is_installed_that_can_be_imported():
    setup = (REPOSITORY / "setup.py").read_text()
    assert "packages=[]" in setup and "py_modules=[]" in setup
