"""added.json in a fork: what this command has put there, with checksums, by which it can be taken away to the byte.

While something is being changed, the record also says what there was before, so that each file is known for ours
whether it was changed already or not, wherever the command was killed.

People edit this file, and it decides what is deleted: nothing in it is believed that this command would not write, and
nothing of one that was edited (the first version's have no seal by which that is known).
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from ..catalogue import OURS
from ..edited import read_json
from ..errors import UserError
from .content import FOLDER, Added
from .train_file import IMPORT, RESTORE

RECORD = f"{FOLDER}/added.json"
_SHAPE = {  # of harness/edited.py
    **{"methods": {str: str}, "files": {str: str}, "folders": [str], "lines": [str], "train": {str: str}},
    "earlier": {"files": {str: [str]}, "lines": [[str]]},  # which it may be without
}
_LINE = re.compile(rf"{IMPORT}|\s*{RESTORE.replace('keys', '(keys|base)')}\(\w+\)")  # of base.py in older versions


class Record(NamedTuple):
    """What is of this command in a fork; paths are below the fork."""

    methods: dict[str, str] = {}  # trainer -> its name there
    files: dict[str, str] = {}  # path -> checksum
    folders: list[str] = []  # that were not there before
    lines: list[str] = []  # of train.py
    train: dict[str, str] = {}  # checksums of train.py without ("before") and with ("after") the lines
    earlier: dict[str, Any] = {}  # of a change that has not ended: the `files` {path: [checksum]} and `lines` before

    def checksums(self) -> dict[str, list[str]]:
        """path -> those that a file may have; it may also not be there."""
        before = self.earlier.get("files", {})
        return {p: [*before.get(p, []), *filter(None, [self.files.get(p)])] for p in {**self.files, **before}}

    def all_lines(self) -> list[list[str]]:
        """What may stand in train.py, the longest first."""
        return sorted([self.lines, *self.earlier.get("lines", [])], key=len, reverse=True)

    def replaced_by(self, record: "Record") -> "Record":
        """`record`, while this one is changed into it."""
        return record._replace(earlier={"files": self.checksums(), "lines": [x for x in self.all_lines() if x]})

    def content(self) -> bytes:
        said = self._asdict()
        if not self.earlier:
            del said["earlier"]
        return (json.dumps({**said, "seal": _seal(said)}, indent=1) + "\n").encode()


def read(root: Path) -> Record:
    """The record of a fork, an empty one if there is none. Raises UserError."""
    path = root / RECORD
    try:
        if path.is_symlink():
            raise ValueError("it is a link")
        said = read_json(path, _SHAPE)
        seal = said.pop("seal", None)
        if {*said, "earlier"} != _SHAPE.keys():
            raise ValueError("keys are missing, or there are others")
        record = Record(**said)
        _refuse_what_is_not_ours(record)
        if seal not in (None, _seal(said)):
            raise ValueError("it was edited")
        return record
    except FileNotFoundError:
        return Record()
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}, which says what was added, cannot be read ({error}): put it back as it was, for example with git."
        ) from error


def checksum(content: bytes) -> str:
    """Of text, whatever its line ends: git may change those of a fork's files (core.autocrlf)."""
    return hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest()


def _seal(said) -> str:
    return checksum(json.dumps(said, sort_keys=True).encode())


def _refuse_what_is_not_ours(record):
    """A path or a line that this command would not write for these methods."""
    if not all(re.fullmatch(r"\w+", name, re.ASCII) for name in record.methods.values()):
        raise ValueError("methods has a name that is none")
    known = {method.trainer: method for method in OURS}
    names = sorted(record.methods.values())
    scripts = {name.lower() for name in names}
    scripts |= {Added(known[trainer], name).folder for trainer, name in record.methods.items() if trainer in known}
    configs, scripts = f"configs/trainers/({'|'.join(names)})", f"scripts/({'|'.join(scripts)})"
    _refuse_paths(record.checksums(), rf"{FOLDER}/.+|{configs}/[^/]+\.yaml|{scripts}/[^/]+\.sh")
    _refuse_paths(record.folders, rf"{FOLDER}(/.+)?|configs|configs/trainers|{configs}|scripts|{scripts}")
    for line in (line for lines in record.all_lines() for line in lines):
        if not _LINE.fullmatch(line):
            raise ValueError(f'"{line}" is no line of this command')


def _refuse_paths(paths, ours):
    for path in paths:
        plain = re.fullmatch(r"[\w.+/-]+", path, re.ASCII) and not {"", ".", ".."} & set(path.split("/"))
        if not plain or path == RECORD or not re.fullmatch(ours, path):
            raise ValueError(f"{path} is not in the fork, or not of this command")
