"""A fork's folder: which it is, what its registry has already, and whether git would show what is changed in it."""

import ast
import subprocess
from pathlib import Path

from ..errors import MissingFile
from .train_file import NoPlace, TrainFile


def find(folder: Path) -> tuple[Path, TrainFile]:
    """The fork in `folder` or one level below it, and its train.py. Raises MissingFile and NoPlace."""
    if not folder.is_dir():
        raise MissingFile(f"There is no folder {folder}: name the one that your fork lies in.")
    found = [place for place in (folder, *sorted(folder.iterdir())) if _looks_like(place)]
    found = found[:1] if found[:1] == [folder] else found
    if not found:
        raise NoPlace(f"{folder} is no fork of CoOp that this command knows: it has no train.py beside trainers/.")
    if len(found) > 1:
        names = ", ".join(place.name for place in found)
        raise NoPlace(f"There are several forks in {folder} ({names}): name one of them.")
    root = found[0]
    if (root / "harness" / "forks").is_dir():
        raise NoPlace(f"{root} is no fork but a checkout of this repository, which has its methods already.")
    path = root / "train.py"
    train = TrainFile(path.read_bytes(), str(path))
    if not train.is_of_a_fork():
        raise NoPlace(f"{path} does not call get_cfg_default and build_trainer, as CoOp's does.")
    return root, train


def _looks_like(folder):
    return (folder / "train.py").is_file() and (folder / "trainers").is_dir()


def dataset_configs(root: Path) -> tuple[str, list[str]]:
    """Where the fork's configs of data sets lie, one folder or all in one ("*"), and the names of the data sets."""
    for place in ("configs/datasets", "configs/datasets/*"):
        names = sorted(path.stem for path in root.glob(f"{place}/*.yaml"))
        if names and len(names) == len(set(names)):
            return place, names
    return "configs/datasets", []


def registered(root: Path, except_for: str) -> dict[str, str]:
    """Name -> file, of the trainers that the fork puts into Dassl's registry, without the files below `except_for`."""
    found = {}
    for path in sorted((root / "trainers").glob("**/*.py")):
        place = path.relative_to(root).as_posix()
        if place.startswith(f"{except_for}/") or any(part.startswith(".") for part in path.relative_to(root).parts):
            continue
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):  # what cannot be imported registers nothing
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and any("TRAINER_REGISTRY" in ast.dump(d) for d in node.decorator_list):
                found[node.name] = place
    return found


def changed_in_git(root: Path) -> list[str]:
    """Files, below the fork, that git tracks and that differ from the last commit; none outside git."""
    command = ["git", "-C", str(root), "status", "--porcelain", "-z", "--untracked-files=no", "--", "."]
    prefix = ["git", "-C", str(root), "rev-parse", "--show-prefix"]
    try:
        status, below = (
            subprocess.run(c, capture_output=True, text=True, check=True, errors="surrogateescape").stdout
            for c in (command, prefix)
        )
    except (OSError, subprocess.CalledProcessError):
        return []
    rows = (row[3:] for row in status.split("\0") if row[2:3] == " ")
    return [row[len(below.strip()) :] for row in rows]
