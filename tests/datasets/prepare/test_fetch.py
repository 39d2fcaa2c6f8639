"""Fetching from a server on this machine, see web.py."""

import hashlib
import os

import pytest

from datasets.prepare.fetch import fetch
from datasets.prepare.remotes import Remote


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
