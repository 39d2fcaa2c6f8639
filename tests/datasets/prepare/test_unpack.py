"""Unpacking archives, and laying out what they hold."""

import os
import tarfile
import tempfile
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dassl.utils import UserError
from datasets.prepare.unpack import lay_out, unpack
from tests.datasets.prepare.web import special, tarred, zipped, zipped_entries
from tests.datasets.stubs import make

EVIL_TARS = {
    "parent": ("../evil.txt", b"x"),
    "inner parent": ("images/../../evil.txt", b"x"),
    "absolute": ("{outside}/evil.txt", b"x"),
    "link": (special("images", tarfile.SYMTYPE, "{outside}"), b""),
    "link upwards": (special("images/a", tarfile.SYMTYPE, "../../.."), b""),
    "hard link": (special("images/a", tarfile.LNKTYPE, "../../../secret.txt"), b""),
    "device": (special("images/a", tarfile.CHRTYPE), b""),
    "pipe": (special("images/a", tarfile.FIFOTYPE), b""),
}


@pytest.mark.parametrize("kind", EVIL_TARS)
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_tar_archives_that_reach_outside_are_refused(kind, mode, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    member, body = EVIL_TARS[kind]
    if isinstance(member, str):
        member = member.format(outside=outside)
    elif member.linkname:
        member = special(member.name, member.type, member.linkname.format(outside=outside))
    archive = tmp_path / "work/archive"
    archive.parent.mkdir()
    archive.write_bytes(tarred([("images/good.txt", b"good"), (member, body), ("images/after.txt", b"x")], mode))
    with pytest.raises(ValueError, match="archive is refused: its member .* (would leave|is not allowed)") as error:
        unpack(str(archive), str(tmp_path / "work/unpacked"))
    assert "\n" not in str(error.value)
    assert os.listdir(outside) == [] and os.listdir(archive.parent) == ["archive"]
    assert sorted(os.listdir(tmp_path)) == ["outside", "secret.txt", "work"]


@pytest.mark.parametrize("name", ["../evil.txt", "images/../../evil.txt", "/tmp/evil.txt", "..\\evil.txt", "link"])
def test_zip_archives_that_reach_outside_are_refused(name, tmp_path):
    archive = tmp_path / "work/archive"
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as members:
        members.writestr("images/good.txt", "good")
        info = zipfile.ZipInfo(name)
        if name == "link":
            info.external_attr = 0o120777 << 16
        members.writestr(info, "/etc/passwd")
    with pytest.raises(ValueError, match="archive is refused: its member .* (would leave|is a link)"):
        unpack(str(archive), str(tmp_path / "work/unpacked"))
    assert os.listdir(tmp_path) == ["work"] and os.listdir(archive.parent) == ["archive"]


@pytest.mark.parametrize("cut", [10, 300, -40])
@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_damaged_archives_are_removed(kind, cut, tmp_path):
    make("dtd", tmp_path / "stub")
    entries = [(f"images/{i}.jpg", os.urandom(2000)) for i in range(5)]
    body = zipped(tmp_path / "stub") if kind == "zip" else tarred(entries, "w" if kind == "tar" else "w:gz")
    body = body[:cut] if kind != "tar" or cut > 0 else body[:7000]
    archive = tmp_path / "archive"
    archive.write_bytes(body)
    with pytest.raises(ValueError, match="archive is damaged .* and was removed: try again"):
        unpack(str(archive), str(tmp_path / "unpacked"))
    assert os.listdir(tmp_path) == ["stub"]


def with_flag(body, offset_in_local, offset_in_central, value):
    """A zip archive of one member whose headers say something else."""
    body, central = bytearray(body), body.index(b"PK\x01\x02")
    body[offset_in_local] = value
    body[central + offset_in_central] = value
    return bytes(body)


@pytest.mark.parametrize(
    ("local", "central", "value", "said"),
    [
        (6, 8, 1, 'its member "images/a.txt" is encrypted'),
        (8, 10, 97, "That compression method is not supported"),
    ],
)
def test_zip_archives_that_cannot_be_read_are_kept(local, central, value, said, tmp_path):
    archive = tmp_path / "archive.zip"
    archive.write_bytes(with_flag(zipped_entries([("images/a.txt", b"text")]), local, central, value))
    with pytest.raises(ValueError) as error:
        unpack(str(archive), str(tmp_path / "unpacked"))
    assert str(error.value) == (
        f"{archive} cannot be unpacked here ({said}): unpack it by hand or try the other --source"
    )
    assert os.listdir(tmp_path) == ["archive.zip"]


def test_a_member_before_the_archives_beginning(tmp_path):
    body = bytearray(zipped_entries([("images/a.txt", b"text")]))
    end = body.index(b"PK\x05\x06")
    body[end + 16] += 1  # where the list of members begins: all of them shift with it
    (tmp_path / "archive").write_bytes(body)
    with pytest.raises(ValueError, match="archive is damaged .* and was removed"):
        unpack(str(tmp_path / "archive"), str(tmp_path / "unpacked"))


FORMATS = {"zip": None, "tar": "w", "tar.gz": "w:gz", "tar.bz2": "w:bz2", "tar.xz": "w:xz"}


@settings(max_examples=300)
@given(st.sampled_from(list(FORMATS)), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=5), st.data())
def test_whatever_is_damaged_ends_in_one_sentence(kind, changes, data):
    entries = [(f"images/\u00e9{i}.txt", bytes(range(100)) * 3) for i in range(3)]
    body = bytearray(zipped_entries(entries) if kind == "zip" else tarred(entries, FORMATS[kind]))
    for place, value in changes:
        body[int(place * (len(body) - 1))] = value
    body = body[: data.draw(st.sampled_from([len(body), len(body) // 2, 0]))]
    with tempfile.TemporaryDirectory() as folder:
        archive = os.path.join(folder, "archive")
        with open(archive, "wb") as file:
            file.write(body)
        try:
            unpack(archive, os.path.join(folder, "unpacked"))
        except ValueError as e:
            assert isinstance(e, UserError) and str(e).startswith(f"{archive} ") and "\n" not in str(e)
            assert "unpacked" not in os.listdir(folder)


def test_links_within_an_archive(tmp_path):
    entries = [("a/b.txt", b"b"), (special("a/c.txt", tarfile.SYMTYPE, "b.txt"), b"")]
    (tmp_path / "archive").write_bytes(tarred([*entries, (special("a/d.txt", tarfile.LNKTYPE, "a/b.txt"), b"")]))
    unpack(str(tmp_path / "archive"), str(tmp_path / "unpacked"))
    assert [(tmp_path / "unpacked/a" / name).read_bytes() for name in ("c.txt", "d.txt")] == [b"b", b"b"]


# ---- laying out --------------------------------------------------------------------------------------------


def test_the_outermost_folder_that_has_most(tmp_path):
    for path in ("x/images/1.jpg", "x/y/images/1.jpg", "x/y/split.json", "x/y/z/images/1.jpg", "x/y/z/split.json"):
        (tmp_path / "tree" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / path).write_text(path)
    found = lay_out(str(tmp_path / "tree"), str(tmp_path / "data"), ["split.json", "images", "other"])
    assert found == ["split.json", "images"]
    assert (tmp_path / "data/split.json").read_text() == "x/y/split.json"
    assert (tmp_path / "data/images/1.jpg").read_text() == "x/y/images/1.jpg"
