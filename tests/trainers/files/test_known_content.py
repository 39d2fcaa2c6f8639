"""What is known of files without reading them: it is what reading them would say."""

import os
import time

import pytest

from trainers.files import known_content
from trainers.files.known_content import content_of

LONG_AGO = 10**18  # ns


@pytest.fixture
def files(tmp_path):
    """Paths of three files of one size and one time of change, and the folder of notes."""
    paths = [tmp_path / name for name in "abc"]
    for number, path in enumerate(paths):
        path.write_bytes(b"%d" % number * 100)
        os.utime(path, ns=(LONG_AGO, LONG_AGO))
    return paths, str(tmp_path / "notes")


@pytest.fixture
def reads(monkeypatch):
    """Paths of the files that are read; the clock is an hour ahead, so that all files are old enough for a note."""
    found, digest, now = [], known_content.sha256, time.time_ns
    monkeypatch.setattr(known_content, "sha256", lambda path: found.append(path) or digest(path))
    monkeypatch.setattr(known_content.time, "time_ns", lambda: now() + 3600 * 10**9)
    return found


def swapped(paths):
    one, two = (path.read_bytes() for path in paths[:2])
    paths[0].write_bytes(two)
    paths[1].write_bytes(one)


def renamed(paths):
    aside = paths[0].with_name("aside")
    paths[0].rename(aside)
    paths[1].rename(paths[0])
    aside.rename(paths[1])


def linked(paths):
    paths[0].unlink()
    os.link(paths[1], paths[0])


def symlinked(paths):
    paths[0].unlink()
    paths[0].symlink_to(paths[1])


def mapped(paths):
    with open(paths[0], "r+b") as file:
        file.write(b"x")


@pytest.mark.parametrize("change", [swapped, renamed, linked, symlinked, mapped])
@pytest.mark.parametrize("noted", [True, False])
def test_other_content_is_another_digest_whatever_the_times_say(files, reads, change, noted):
    paths, folder = files
    before = content_of(paths, folder if noted else "")
    change(paths)
    for path in paths:
        os.utime(path, ns=(LONG_AGO, LONG_AGO))
    assert content_of(paths, folder) != before
    assert content_of(paths, folder) == content_of(paths)  # as of files that nothing is known of


def test_files_are_read_once(files, reads):
    paths, folder = files
    first = content_of(paths, folder)
    assert len(reads) == 3 and content_of(paths, folder) == first and len(reads) == 3
    os.utime(paths[0])  # touched: it is read again, and is what it was
    assert content_of(paths, folder) == first and len(reads) == 6
    assert content_of(paths[::-1], folder) != first


def test_what_may_change_without_another_time_is_not_noted(files):
    paths, folder = files
    content_of(paths, folder)  # they were written just now
    assert not os.path.exists(folder)


@pytest.mark.parametrize("damage", [b"", b"x", b"0" * 64, b"%b 0123456789abcdef" % (b"0" * 64)])
def test_a_damaged_note_is_none(files, reads, damage):
    paths, folder = files
    first = content_of(paths, folder)
    (note,) = [os.path.join(where, name) for where, _, names in os.walk(folder) for name in names]
    with open(note, "wb") as file:
        file.write(damage)
    assert content_of(paths, folder) == first and len(reads) == 6


def test_notes_that_cannot_be_made(files, reads):
    paths, folder = files
    with open(folder, "w", encoding="utf-8"):
        assert content_of(paths, folder) == content_of(paths)


def test_what_is_not_there(files, tmp_path):
    paths, folder = files
    assert content_of([*paths, tmp_path / "none"], folder) is None and content_of(["\0"], folder) is None
    assert content_of([tmp_path], folder) is None
