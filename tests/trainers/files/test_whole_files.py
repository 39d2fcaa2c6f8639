"""A file is there whole or as it was before, whatever the disk does."""

import errno
import os
import subprocess
import sys

import pytest

from tests.conftest import raiser
from trainers.errors import UserError
from trainers.files import whole_files as files
from trainers.files.whole_files import disk_errors, write_whole


def write(path, content=b"new"):
    write_whole(str(path), lambda f: f.write(content))


@pytest.fixture
def path(tmp_path):
    """A file with content, alone in its folder."""
    path = tmp_path / "folder" / "file"
    write(path, b"old")
    return path


def test_folder_is_made_and_nothing_else_left(path):
    write(path)
    assert path.read_bytes() == b"new" and os.listdir(path.parent) == ["file"]


@pytest.mark.parametrize("code", ["ENOSPC", "EDQUOT", "EACCES", "EROFS", "EIO"])
@pytest.mark.parametrize("where", ["write", "fsync", "replace", "open"])
def test_a_disk_that_does_not_take_it(path, monkeypatch, code, where):
    cause = OSError(getattr(errno, code), os.strerror(getattr(errno, code)))

    def half(f):
        f.write(b"ha")
        if where == "write":
            raise cause

    if where == "open":
        monkeypatch.setattr("builtins.open", raiser(cause))
    elif where != "write":
        monkeypatch.setattr(os, where, raiser(cause))
    with pytest.raises(UserError) as raised:
        write_whole(str(path), half)
    monkeypatch.undo()
    remedy = "make room" if code in ("ENOSPC", "EDQUOT") else "choose an OUTPUT_DIR that can be written to"
    assert f'"{path}" cannot be written ({cause.strerror}): {remedy}' in str(raised.value)
    assert path.read_bytes() == b"old" and os.listdir(path.parent) == ["file"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, TypeError])
def test_what_is_not_the_disks_fault_is_not_called_so(path, error):
    def half(f):
        f.write(b"ha")
        raise error

    with pytest.raises(error):
        write_whole(str(path), half)
    assert path.read_bytes() == b"old" and os.listdir(path.parent) == ["file"]


def test_a_folder_that_cannot_be_synced(path, monkeypatch):
    """Some network file systems cannot; the file itself is on disk."""
    real = os.fsync

    def only_files(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", only_files)
    write(path)
    assert path.read_bytes() == b"new"


# ---- what writers leave that were killed -------------------------------------------------------------------


def temporary(host=files._HOST, pid=None, token=files._TOKEN):
    return f".{host}-{pid or os.getpid()}-{token}-0.tmp"


@pytest.mark.parametrize("writer", ["trainers.files.whole_files", "dassl.utils.files"])  # both write in a run
def test_leftovers_of_a_killed_writer(path, writer):
    """A process is killed as it writes; the next run to write there clears up."""
    code = (
        f"import os, sys; from {writer} import write_whole\nwrite_whole(sys.argv[1], lambda f: os.kill(os.getpid(), 9))"
    )
    subprocess.run([sys.executable, "-c", code, path], check=False)
    assert len(os.listdir(path.parent)) == 2 and path.read_bytes() == b"old"
    write(path)
    assert os.listdir(path.parent) == ["file"]


def test_whose_temporary_files_are_removed(path):
    """Those of processes that are gone; not those of a living one, of another host, nor any other file."""
    dead = subprocess.Popen(["true"])
    dead.wait()
    gone = [temporary(pid=dead.pid), temporary(token="0" * 8), temporary(pid=10**20)]
    kept = [temporary(), temporary(pid=1), temporary(host="other", pid=dead.pid), ".hidden", "file.tmp-77"]
    for name in gone + kept:
        (path.parent / name).write_bytes(b"half")
    write(path)
    assert sorted(os.listdir(path.parent)) == sorted([*kept, "file"])


# ---- other writers -----------------------------------------------------------------------------------------


def test_a_full_disk_of_another_writer():
    for name, error in (("run", OSError(errno.ENOSPC, "No space")), ("log", OSError(errno.EROFS, "Read-only", "log"))):
        with pytest.raises(UserError, match=f'"{name}" cannot be written'), disk_errors("run"):
            raise error
    for other in (FileNotFoundError(errno.ENOENT, "none"), PermissionError(errno.EACCES, "no"), OSError("an image")):
        with pytest.raises(type(other)) as raised, disk_errors("run"):
            raise other
        assert raised.value is other
