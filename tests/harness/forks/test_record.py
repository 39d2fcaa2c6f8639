"""What an edited or damaged record makes the command do: nothing."""

import json
import os

import pytest

from harness.errors import UserError
from harness.forks import install
from harness.forks.install import RECORD, add, remove
from harness.forks.train_file import IMPORT
from tests.harness.forks.trees import PACKAGE, state


def edited(fork, edit):
    """`edit` the record, and return all that is there then."""
    record = json.loads((fork / RECORD).read_text())
    edit(record)
    (fork / RECORD).write_text(json.dumps(record))
    return state(fork.parent)


def refused(fork, sentence, edit):
    """With the record edited so, both commands say why they do nothing, and do nothing."""
    before = edited(fork, edit)
    for action in (add, remove):
        with pytest.raises(UserError, match=sentence):
            action(fork)
    assert state(fork.parent) == before


SHAPES = [None, 1, "x", [], [1], {}, {"a": 1}, [["x"]], {"x": ["y"]}, True, 1e400]


@pytest.mark.parametrize("key", ["methods", "files", "folders", "lines", "train", "earlier", "other"])
def test_a_record_of_another_shape(fork, key):
    """Is refused in a sentence, or was one that this command writes."""
    add(fork).carry_out()
    whole = (fork / RECORD).read_text()
    for value in SHAPES:
        before = edited(fork, lambda record, value=value: record.update({key: value}))
        for action in (add, remove):
            try:
                action(fork)
            except UserError as error:
                assert f"{fork / RECORD}, which says what was added, cannot be read" in str(error) or not value
        assert state(fork.parent) == before
        (fork / RECORD).write_text(whole)
    edited(fork, lambda record: record.pop(key, None))
    if key not in ("earlier", "other"):
        with pytest.raises(UserError, match="cannot be read"):
            remove(fork)


@pytest.mark.parametrize(
    "kind", ["", "[]", "{", "[" * 200_000, "1" * 10_000, "\xff", "folder", "fifo", "link", "large"]
)
def test_a_damaged_record(fork, kind):
    add(fork).carry_out()
    path = fork / RECORD
    text = path.read_text()
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "link":
        (fork / "elsewhere.json").write_text(text)
        path.symlink_to(fork / "elsewhere.json")
    elif kind == "large":
        with open(path, "wb") as file:
            file.truncate(3 * 2**30)
    else:
        path.write_bytes(kind.encode("latin-1"))
    for action in (add, remove):
        with pytest.raises(UserError, match="added.json, which says what was added, cannot be read"):
            action(fork)


NOT_OURS = [
    "/empty",
    "../empty",
    f"{PACKAGE}/../../../empty",
    f"{PACKAGE}/../coop.py",
    "trainers/coop.py",
    "trainers//prompt_methods/base.py",
    "./trainers/coop.py",
    "train.py",
    "trainers",
    "",
    ".",
    "configs/trainers/CoOp/vit_b16.yaml",
    "configs/trainers/SEP/../CoOp/vit_b16.yaml",
    "configs/trainers/SEP/mine.txt",
    "scripts/coop/main.sh",
    "a\0b",
    "trainers\\coop.py",
    "\ud800",
    RECORD,
]


@pytest.mark.parametrize("key", ["files", "folders", "earlier"])
def test_a_record_reaches_nothing_that_is_not_ours(fork, key):
    add(fork).carry_out()
    (fork.parent / "empty").write_bytes(b"")
    whole = (fork / RECORD).read_text()
    for path in [*NOT_OURS, str(fork.parent / "empty"), str(fork / "trainers/coop.py")]:
        there = os.path.join(fork, path) if "\0" not in path and path.isascii() else ""
        was = install.checksum(open(there, "rb").read() if os.path.isfile(there) else b"")

        def edit(record, path=path, was=was):
            if key == "folders":
                record["folders"].append(path)
            else:
                record["earlier"] = {"files": {path: [was]}, "lines": []} if key == "earlier" else {}
                record["files"].update({path: was} if key == "files" else {})

        refused(fork, "is not in the fork, or not of this command", edit)
        (fork / RECORD).write_text(whole)


@pytest.mark.parametrize("line", ["import datasets.tiny", "def main(args):", "", f"{IMPORT}  # mine", "x\n"])
def test_a_record_takes_no_line_that_is_not_ours(fork, line):
    add(fork).carry_out()
    refused(fork, "is no line of this command", lambda record: record["lines"].append(line))


OWN = [f"{PACKAGE}/mine.py", f"{PACKAGE}/__init__.txt", "configs/trainers/SEP/mine.yaml", "scripts/sep/mine.sh"]


@pytest.mark.parametrize("key", ["files", "earlier"])
def test_an_edited_record_takes_no_file_of_the_users(fork, key):
    add(fork).carry_out()
    for path in OWN:
        (fork / path).write_bytes(b"mine")
    files = {path: install.checksum(b"mine") for path in OWN}
    earlier = {"files": {path: [known] for path, known in files.items()}, "lines": []}

    def edit(record):
        record.update(earlier=earlier) if key == "earlier" else record["files"].update(files)

    refused(fork, "cannot be read .it was edited.: put it back as it was", edit)


def test_a_record_takes_nothing_of_the_forks_own_trainers(fork):
    add(fork).carry_out()
    path = "configs/trainers/CoOp/vit_b16.yaml"

    def edit(record):
        record["methods"]["CoOp"] = "CoOp"
        record["files"][path] = install.checksum((fork / path).read_bytes())
        del record["seal"]  # as the first versions had none

    refused(fork, "a trainer CoOp of its own", edit)
