"""Fetching from a server on this machine, see web.py."""

import hashlib
import os

import pytest

from datasets.prepare.fetch import fetch
from datasets.prepare.remotes import Remote
from tests.conftest import no_larger_files


def test_a_server_without_ranges_starts_over(site, tmp_path):
    site.files["/a.bin"], site.ranges, site.cuts = bytes(range(200)), False, [50]
    path = fetch(Remote("a.bin", f"{site.url}/a.bin"), str(tmp_path))
    assert open(path, "rb").read() == bytes(range(200))


@pytest.mark.parametrize("have", [200, 300])
def test_a_part_that_is_whole_or_too_long(have, site, tmp_path):
    site.files["/a.bin"] = bytes(range(200))
    (tmp_path / "a.bin.part").write_bytes((bytes(range(200)) * 2)[:have])
    path = fetch(Remote("a.bin", f"{site.url}/a.bin"), str(tmp_path))
    assert open(path, "rb").read() == bytes(range(200))
    assert len(site.requests) == (1 if have == 200 else 2)


def test_another_size_and_md5(site, tmp_path):
    site.files["/a.bin"] = b"12345"
    with pytest.raises(ValueError, match=r"another file than it should \(5 bytes instead of 6\); it was removed"):
        fetch(Remote("a.bin", f"{site.url}/a.bin", size=6), str(tmp_path))
    remote = Remote("a.bin", f"{site.url}/a.bin", hashlib.md5(b"12345").hexdigest())
    assert os.listdir(tmp_path) == []
    fetch(remote, str(tmp_path))
    (tmp_path / "a.bin").write_bytes(b"12346")
    with pytest.raises(ValueError, match="another file"):
        fetch(remote, str(tmp_path))
    assert os.listdir(tmp_path) == []


BODY = bytes(range(200))


def remote(site, size=None):
    return Remote("a.bin", f"{site.url}/a.bin", size=size)


def test_a_server_that_refuses_to_go_on_and_ends_early_is_given_up(site, tmp_path):
    site.files["/a.bin"], site.cuts = BODY, [50] * 100
    answer = {"Content-Range": None}
    (tmp_path / "a.bin.part").write_bytes(BODY[:50])
    site.headers["/a.bin"] = answer
    do_get = site.RequestHandlerClass.do_GET

    def no_ranges(handler):
        if handler.headers.get("Range"):
            site.requests.append(("/a.bin", "range"))
            return handler.answer(416, b"")
        return do_get(handler)

    site.RequestHandlerClass = type("Stubborn", (site.RequestHandlerClass,), {"do_GET": no_ranges})
    with pytest.raises(OSError, match="cannot be fetched now"):
        fetch(remote(site), str(tmp_path))
    assert len(site.requests) < 10


@pytest.mark.parametrize("length", [None, "", "abc", "-5", "1e3", "²"])
@pytest.mark.parametrize("size", [None, 200])
def test_a_length_that_is_missing_or_nonsense(length, size, site, tmp_path):
    site.files["/a.bin"] = BODY
    site.headers["/a.bin"] = {"Content-Length": length and length.encode().decode("latin-1")}
    assert open(fetch(remote(site, size), str(tmp_path)), "rb").read() == BODY


def test_without_a_length_a_known_size_tells_that_some_is_missing(site, tmp_path):
    site.files["/a.bin"], site.cuts = BODY, [50, None]
    site.headers["/a.bin"] = {"Content-Length": None}
    assert open(fetch(remote(site, 200), str(tmp_path)), "rb").read() == BODY
    assert [wanted for _, wanted in site.requests] == [None, "bytes=50-"]


@pytest.mark.parametrize("length", ["200", None])
@pytest.mark.parametrize("have", [0, 30])
def test_more_than_the_known_size_is_not_kept(length, have, site, tmp_path, monkeypatch):
    site.files["/a.bin"] = BODY
    site.headers["/a.bin"] = {} if length else {"Content-Length": None}
    monkeypatch.setattr("datasets.prepare.fetch.BLOCK", 16)
    (tmp_path / "a.bin.part").write_bytes(BODY[:have])
    with pytest.raises(ValueError, match=r"another file than it should \(more than 100 bytes\); it was removed"):
        fetch(remote(site, 100), str(tmp_path))
    assert os.listdir(tmp_path) == []


def test_other_bytes_than_those_asked_for_are_not_appended(site, tmp_path):
    site.files["/a.bin"] = BODY
    (tmp_path / "a.bin.part").write_bytes(BODY[:50])
    site.headers["/a.bin"] = {"Content-Range": "bytes 80-199/200"}
    with pytest.raises(OSError, match="a.bin answers with bytes from 80 on instead of 50"):
        fetch(remote(site), str(tmp_path))
    assert (tmp_path / "a.bin.part").read_bytes() == BODY[:50]


def test_a_disk_that_fills_up(site, tmp_path):
    site.files["/a.bin"] = os.urandom(50_000)
    with no_larger_files(20_000), pytest.raises(OSError, match="File too large") as error:
        fetch(remote(site), str(tmp_path))
    assert error.value.filename == str(tmp_path / "a.bin.part")
    assert fetch(remote(site), str(tmp_path)) and site.requests[-1][1] == "bytes=20000-"  # room was made
