"""Folders that cannot be written to, are full, or have no locks."""

import errno
import fcntl
import shutil
import subprocess
from types import SimpleNamespace

import pytest

from doctor.disks import disks
from doctor.findings import FAULT, NOTE, OK
from tests.conftest import fill


def look(data, output, datasets=1):
    return [(f.level, f.check, f.line()) for f in disks(str(data), str(output), datasets, 1000)]


def test_room_for_all(tmp_path):
    (tmp_path / "data").mkdir()
    output, data = look(tmp_path / "data", tmp_path / "some" / "output")
    assert output[:2] == (OK, "output") and "has locks" in output[2] and "writes 3.4 GiB" in output[2]
    assert data[:2] == (OK, "data root")
    assert [path.name for path in tmp_path.rglob("*")] == ["data"]  # nothing is left, and nothing made


def full(folder):
    fill(folder)


def read_only(folder):
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)


@pytest.mark.parametrize("spoil, reason", [(full, "No space left on device"), (read_only, "Read-only file system")])
def test_what_cannot_be_written_to(disk, spoil, reason, tmp_path):
    folder = disk("100k")
    spoil(folder)
    output, data = look(folder, folder / "output")
    assert output[:2] == (FAULT, "output") and f"cannot be written to ({reason}); mend that" in output[2]
    assert data[:2] == (NOTE, "data root") and reason in data[2]


def test_too_little_room(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2**20))
    output, data = look(tmp_path, tmp_path, datasets=11)
    assert output[:2] == (FAULT, "output") and "make room" in output[2]
    assert "SEP, whose runs are the largest, writes 28.6 GiB on these data sets with 3 seeds" in output[2]
    assert data[:2] == (NOTE, "data root") and "STORE" in data[2]


def test_no_locks(tmp_path, monkeypatch):
    def refuse(file, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    (_, _, output), (level, _, data) = look(tmp_path, tmp_path)
    assert output.startswith("fault  output: ") and "without locks" in output and "set OUTPUT to" in output
    assert level == NOTE and "without locks" in data
