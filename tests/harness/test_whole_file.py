import os
import re
import stat
import subprocess
import sys

import pytest

from harness.errors import UserError
from harness.whole_file import write_whole
from tests.conftest import REPOSITORY


def test_takes_the_place_of_an_earlier_file(tmp_path):
    path, link = tmp_path / "new/page.html", tmp_path / "link"
    write_whole(path, b"one")
    path.chmod(0o640)
    os.chown(path, 1234, 1234) if os.getuid() == 0 else None
    earlier = path.stat()
    link.symlink_to("new/page.html")
    write_whole(link, b"two")
    assert link.is_symlink() and path.read_bytes() == b"two" and os.listdir(path.parent) == ["page.html"]
    now = path.stat()
    assert (now.st_uid, now.st_gid, stat.S_IMODE(now.st_mode)) == (earlier.st_uid, earlier.st_gid, 0o640)


def test_what_is_no_file_is_written_to(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_whole(pipe, b"x")
    assert os.read(reader, 10) == b"x" and stat.S_ISFIFO(os.stat(pipe).st_mode)
    os.close(reader)
    write_whole(os.devnull, b"x")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


@pytest.mark.parametrize("place", ["folder", "file/below", "/proc/none/page", "n" * 300, "new/" + "n" * 300])
def test_what_cannot_be_written_leaves_nothing(tmp_path, place):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=rf"^{re.escape(str(tmp_path / place))} cannot be written \(.+\); do this$"):
        write_whole(tmp_path / place, b"x", "do this")
    assert sorted(tmp_path.rglob("*")) == before and (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("call", ["fsync", "replace", "fchmod"])
def test_an_error_at_any_moment_leaves_the_earlier_file(tmp_path, monkeypatch, call):
    path = tmp_path / "page.html"
    path.write_text("earlier")

    def fails(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, fails)
    with pytest.raises(UserError, match="No space left on device"):
        write_whole(path, b"x")
    assert path.read_text() == "earlier" and os.listdir(tmp_path) == ["page.html"]


def test_output_on_a_full_disk_is_one_sentence():
    command = [sys.executable, "tools/report.py", "tests/earlier_runs"]
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run(command, cwd=REPOSITORY, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr == "error: the output cannot be written (No space left on device); make room\n"
