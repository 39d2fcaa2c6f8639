"""Putting methods into a fork and taking them out: what would change is known first, and then carried out.

The package in the fork has a record of all that was written there, with checksums, by which it can be taken away to the
byte, and what somebody has edited since is known.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Optional

from ..catalogue import METHODS, Method
from ..errors import UserError
from . import PACKAGE, tree
from .content import FOLDER, ROOT, Added, files
from .train_file import IMPORT, NoPlace, TrainFile, without_lines

RECORD = f"{FOLDER}/added.json"
TRAIN = "train.py"
DEFAULT = ("SEP", "E2MIM")


class Changes(NamedTuple):
    """What is to be done to a fork."""

    root: Path
    added: list[Added]  # what is there afterwards
    write: dict[str, bytes]  # path below the fork -> content, in this order
    remove: list[str]  # paths of files
    folders: list[str]  # that are ours and go if they are empty afterwards
    lines: list[str]  # of train.py that come or go
    kept: list[str]  # paths in our package that are not ours

    def is_empty(self) -> bool:
        return not (self.write or self.remove)

    def carry_out(self) -> None:
        for path, content in self.write.items():
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).write_bytes(content)
        for path in self.remove:
            (self.root / path).unlink(missing_ok=True)
        for folder in sorted(self.folders, reverse=True):  # the inner ones first
            place = self.root / folder
            if folder.startswith(FOLDER):
                shutil.rmtree(place / "__pycache__", ignore_errors=True)
            if place.is_dir() and not any(place.iterdir()):
                place.rmdir()


def add(
    folder: Path, trainers: Iterable[str] = DEFAULT, names: Optional[dict[str, str]] = None, dirty: bool = False
) -> Changes:
    """What it takes to have `trainers` in the fork beside what this command has put there before.

    Args:
        names: trainer -> what the fork's registry is to call it.
        dirty: go on although the fork has changes that are not committed.

    Raises NoPlace, with which the steps by hand go, for a fork that this cannot be done to, and UserError.
    """
    root, train = tree.find(folder)
    record = _read_record(root)
    _refuse_edited(root, record)
    found, train = train.content, TrainFile(_without_ours(root, train, record), train.path)
    if not dirty:
        _refuse_dirty(root, record)
    added = _wanted(trainers, names or {}, record["methods"])
    _refuse_taken(root, train, added)
    content = files(added, train.defaults())
    clash = [path for path in content if path not in record["files"] and (root / path).exists()]
    if clash:
        raise UserError(f"The fork has a file {clash[0]} already, which would be overwritten: move it, or use --name.")
    lines = train.lines()
    texts = [line.text for line in lines]
    stays = found != train.content and texts == record["lines"]  # wherever somebody has moved them
    changed = found if stays else train.with_lines(lines)
    folders = {parent.as_posix() for path in content for parent in list(Path(path).parents)[:-1]}
    folders = {place for place in folders if not (root / place).is_dir()} | set(record["folders"])
    now = {
        "methods": {each.method.trainer: each.name for each in added},
        "files": {path: _checksum(text) for path, text in content.items()},
        "folders": sorted(folders),
        "lines": texts,
        "train": record["train"] if stays else {"before": _checksum(train.content), "after": _checksum(changed)},
    }
    # the record first: what is interrupted can be taken away
    content = {RECORD: (json.dumps(now, indent=1) + "\n").encode(), **content, TRAIN: changed}
    write = {path: text for path, text in content.items() if _read(root / path) != text}
    gone = [path for path in record["files"] if path not in content]
    told = [f"{TRAIN}, after line {line.after}: {line.text.strip()}" for line in lines] if TRAIN in write else []
    return Changes(root, added, write, gone, sorted(folders), told, [])


def remove(folder: Path) -> Changes:
    """What it takes to take away what this command has put into the fork. Raises UserError, and NoPlace as `add`."""
    root, train = tree.find(folder)
    record = _read_record(root)
    if not record["files"]:
        raise UserError(f"{root} has no {FOLDER} that this command has put there: there is nothing to remove.")
    _refuse_edited(root, record)
    before = _without_ours(root, train, record)
    if _checksum(train.content) == record["train"]["after"] and _checksum(before) != record["train"]["before"]:
        raise NoPlace(f"{train.path} would not be what it was before: remove the lines that name {PACKAGE} yourself.")
    write = {TRAIN: before} if before != train.content else {}
    gone = [*(path for path in record["files"] if (root / path).exists()), RECORD]
    lines = [f"{TRAIN}: {line.strip()}" for line in record["lines"]] if write else []
    return Changes(root, [], write, gone, record["folders"], lines, list(_others(root, gone)))


# ---- what is there ---------------------------------------------------------------------------------------------


def _read_record(root):
    empty = {"methods": {}, "files": {}, "folders": [], "lines": [], "train": {}}
    path = root / RECORD
    if not path.exists():
        return empty
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record.keys() != empty.keys() or any(type(record[key]) is not type(empty[key]) for key in empty):
            raise ValueError("keys are missing")
        outside = [p for p in (*record["files"], *record["folders"]) if Path(p).is_absolute() or ".." in Path(p).parts]
        if outside:
            raise ValueError(f"{outside[0]} is not in the fork")
        return record
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path}, which says what was added, cannot be read ({error}): put it back as it was, for example with git."
        ) from error


def _refuse_edited(root, record):
    edited = [path for path, was in record["files"].items() if _checksum(_read(root / path)) not in (was, None)]
    if edited:
        raise UserError(
            f"In {root} somebody has edited {', '.join(edited)} since this command wrote it: keep your version under "
            "another name and put the file back, or delete it; then try again."
        )


def _without_ours(root, train, record):
    """train.py without our lines."""
    if not train.imports_ours():
        return train.content
    before = without_lines(train.content, record["lines"]) if record["lines"] else None
    if before is None:
        raise NoPlace(
            f"{train.path} names {PACKAGE} otherwise than this command wrote it: remove those lines yourself, then try "
            "again."
        )
    return before


def _refuse_dirty(root, record):
    changed = [path for path in tree.changed_in_git(root) if path not in (*record["files"], RECORD)]
    if record["files"]:
        changed = [path for path in changed if path != TRAIN]  # our own lines
    if changed:
        raise NoPlace(
            f"{root} has changes that are not committed ({', '.join(changed[:3])}{' ...' if changed[3:] else ''}): "
            "commit or stash them, so that git shows what this adds, or give --dirty."
        )


def _others(root, ours):
    for path in sorted((root / FOLDER).glob("**/*")):
        place = path.relative_to(root).as_posix()
        if path.is_file() and place not in ours and "__pycache__" not in path.parts:
            yield place


# ---- what is wanted --------------------------------------------------------------------------------------------


def _wanted(trainers, names, there):
    known = {method.trainer.lower(): method for method in METHODS}
    known.update({method.folder: method for method in METHODS})
    methods = [_known(known, name) for name in trainers]
    renamed = {_known(known, name).trainer: new for name, new in names.items()}
    for trainer, new in renamed.items():
        if trainer not in [method.trainer for method in methods]:
            raise UserError(f"--name says how to call {trainer}, which is not among --trainers: add it there.")
        if not (new.isidentifier() and new.isascii()):
            raise UserError(f'--name {trainer}={new}: "{new}" cannot be the name of a trainer; use letters and digits.')
    wanted = {**there}
    for method in methods:
        name = renamed.get(method.trainer, there.get(method.trainer, method.trainer))
        if there.get(method.trainer, name) != name:
            raise UserError(f"{method.trainer} is in the fork as {there[method.trainer]}: --remove that first.")
        wanted[method.trainer] = name
    return [Added(method, wanted[method.trainer]) for method in METHODS if method.trainer in wanted]


def _known(known, name) -> Method:
    if name.lower() not in known:
        raise UserError(f'Unknown trainer "{name}": choose from {", ".join(method.trainer for method in METHODS)}.')
    return known[name.lower()]


def _refuse_taken(root, train, added):
    taken, nodes = tree.registered(root, FOLDER), train.nodes()
    for each in added:
        trainer = each.method.trainer
        offer = f"add ours under another name, for example --name {trainer}={trainer}_ours"
        if each.name in taken:
            raise UserError(f"The fork has a trainer {each.name} of its own ({taken[each.name]}): {offer}.")
        if each.node in nodes:
            raise UserError(f"The fork's train.py makes a config node TRAINER.{each.node} of its own: {offer}.")
        if [other.name.lower() for other in added].count(each.name.lower()) > 1:
            raise UserError(f"Two trainers would be called {each.name}: choose another --name.")


def steps_by_hand(trainers: Iterable[str] = DEFAULT) -> Iterator[str]:
    """What to do where this command cannot."""
    known = {name: method for method in METHODS for name in (method.trainer.lower(), method.folder)}
    modules = [known[name.lower()].folder for name in trainers if name.lower() in known]
    configs = " and ".join(f"configs/trainers/{known[module].trainer}/" for module in modules)
    yield f"copy {ROOT}/trainers/ to your fork's trainers/{PACKAGE}/, and {configs} into its configs/trainers/"
    yield f"let trainers/{PACKAGE}/__init__.py hold one line: from . import {', '.join(['base', *modules])}"
    yield f"add to train.py, behind its other imports of trainers: {IMPORT}"
    yield (
        "if train.py calls clean_cfg or removes config nodes otherwise, add after that, and before it merges config "
        f"files: trainers.{PACKAGE}.keys.restore_nodes(cfg)"
    )


def _read(path):
    return path.read_bytes() if path.is_file() else None


def _checksum(content):
    return None if content is None else hashlib.sha256(content).hexdigest()
