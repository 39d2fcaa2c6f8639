"""prepare_data get: from the mirror, interrupted, and on disks that fail; the server is in web.py."""

import hashlib
import os
import zipfile

import filelock
import pytest
from tqdm import tqdm

from datasets.prepare import fetch, unpack
from datasets.prepare.get import WORK
from datasets.prepare.state import loader_of
from tests.datasets.prepare.web import MIRROR, on_mirror, same_tree, tarred, zipped
from tests.datasets.stubs import WNIDS, make, picture
from tests.tools.conftest import FETCHED, run
from tools.prepare_data import Found

pytestmark = pytest.mark.usefixtures("stub_sizes")


# ---- a data set from the mirror ------------------------------------------------------------------------------


@pytest.mark.parametrize("stem", FETCHED)
def test_from_the_mirror_and_not_twice(stem, site, tmp_path, capsys):
    path, _ = on_mirror(site, stem, tmp_path)
    code, out, _ = run(capsys, "get", stem, "--root", tmp_path / "data")
    folder = Found(stem, str(tmp_path / "data")).folder
    assert code == 0 and out == f"{loader_of(stem).__name__} is complete in {folder}\n"
    assert same_tree(tmp_path / "stub", tmp_path / "data")
    assert site.fetched() == [path.rpartition("/")[2]]
    assert run(capsys, "check", stem, "--root", tmp_path / "data")[0] == 0
    site.requests.clear()
    assert run(capsys, "get", stem, "--root", tmp_path / "data")[0] == 0
    assert site.requests == []


@pytest.mark.parametrize("top", ["", "other", "a/b", "food101"])
def test_archives_with_another_top_folder(top, site, tmp_path, capsys):
    on_mirror(site, "food101", tmp_path, "food101.zip", top)
    assert run(capsys, "get", "food101", "--root", tmp_path / "data")[0] == 0
    assert same_tree(tmp_path / "stub", tmp_path / "data")


def test_what_macos_adds_is_left_out(site, tmp_path, capsys):
    make("dtd", tmp_path / "stub")
    make("dtd", tmp_path / "both")
    make("dtd", tmp_path / "both/__MACOSX")
    for path in (tmp_path / "both/__MACOSX").rglob("*.*"):
        path.write_bytes(b"attributes")
    site.files[f"/{MIRROR}/resolve/main/dtd.zip"] = zipped(tmp_path / "both")
    assert run(capsys, "get", "dtd", "--root", tmp_path / "data")[0] == 0
    assert same_tree(tmp_path / "stub", tmp_path / "data")


def test_only_the_data_set_is_taken(site, tmp_path, capsys):
    make("dtd", tmp_path / "stub")
    (tmp_path / "stub/dtd/split_fewshot").mkdir()
    (tmp_path / "stub/dtd/split_fewshot/shot_16-seed_1.pkl").write_bytes(b"a fork's")
    site.files[f"/{MIRROR}/resolve/main/dtd.zip"] = zipped(tmp_path / "stub")
    assert run(capsys, "get", "dtd", "--root", tmp_path / "data")[0] == 0
    assert {p.name for p in (tmp_path / "data/dtd").iterdir()} == {"images", "split_zhou_DescribableTextures.json"}


def test_only_what_is_missing_is_added(site, tmp_path, capsys):
    _, parts = on_mirror(site, "dtd", tmp_path)
    make("dtd", tmp_path / "data")
    (tmp_path / "data" / parts["test"][0][0]).unlink()
    other = tmp_path / "data" / parts["test"][1][0]
    other.write_bytes(b"mine")
    (tmp_path / "data/dtd/split_zhou_DescribableTextures.json").touch()
    assert run(capsys, "get", "dtd", "--root", tmp_path / "data")[0] == 0
    assert other.read_bytes() == b"mine"
    other.write_bytes((tmp_path / "stub" / parts["test"][1][0]).read_bytes())
    assert same_tree(tmp_path / "stub", tmp_path / "data")


def test_a_variant_that_lacks_images(site, tmp_path, monkeypatch, capsys):
    _, parts = on_mirror(site, "imagenet_a", tmp_path)
    make("imagenet_a", tmp_path / "data")
    (tmp_path / "data" / parts["test"][0][0]).unlink()
    monkeypatch.setattr(loader_of("imagenet_a"), "expected_images", (None, None, len(parts["test"])))
    assert run(capsys, "get", "imagenet_a", "--root", tmp_path / "data")[0] == 0
    assert same_tree(tmp_path / "stub", tmp_path / "data")
    site.requests.clear()
    picture(tmp_path / "data/imagenet-adversarial/imagenet-a" / WNIDS[1] / "one_more.jpg")
    code, out, _ = run(capsys, "get", "imagenet_a", "--root", tmp_path / "data")
    n = len(parts["test"])
    assert code == 1 and f"incomplete: {n + 1} test images instead of {n}" in out and site.requests == []


def test_class_names_are_copied_from_another_variant(site, elsewhere, tmp_path, capsys):
    on_mirror(site, "imagenet_a", tmp_path)
    path, _ = on_mirror(site, "imagenet_r", tmp_path)
    (tmp_path / "stub/imagenet-rendition/classnames.txt").unlink()
    site.files[path] = zipped(tmp_path / "stub/imagenet-rendition")
    assert run(capsys, "get", "imagenet_a", "imagenet_r", "--root", tmp_path / "data")[0] == 0
    texts = {p.read_text() for p in (tmp_path / "data").rglob("classnames.txt")}
    assert len(texts) == 1 and site.fetched() == ["imagenet-adversarial.zip", "imagenet-rendition.zip"]


# ---- interrupted -------------------------------------------------------------------------------------------


def test_a_download_goes_on_where_it_was(site, tmp_path, monkeypatch, capsys):
    path, _ = on_mirror(site, "ucf101", tmp_path)
    body = site.files[path]
    monkeypatch.setattr(fetch, "BLOCK", 100)
    read = tqdm.update
    seen = []

    def stop(bar, n=1):
        seen.append(n)
        if len(seen) == 5:
            raise KeyboardInterrupt
        return read(bar, n)

    monkeypatch.setattr(tqdm, "update", stop)
    code, out, err = run(capsys, "get", "ucf101", "--root", tmp_path / "data")
    assert code == 130 and "interrupted" in err
    part = tmp_path / "data/ucf101" / WORK / "ucf101.zip.part"
    assert part.read_bytes() == body[:500]
    assert run(capsys, "list", "--root", tmp_path / "data")[1].count("| absent") == 15

    site.requests.clear()
    assert run(capsys, "get", "ucf101", "--root", tmp_path / "data")[0] == 0
    assert [wanted for url, wanted in site.requests if "resolve" in url] == ["bytes=500-"]
    assert same_tree(tmp_path / "stub", tmp_path / "data")


def test_a_connection_that_ends_early_is_taken_up_again(site, tmp_path, capsys):
    path, _ = on_mirror(site, "ucf101", tmp_path)
    site.cuts = [100, 0, 0, 50, None]
    assert run(capsys, "get", "ucf101", "--root", tmp_path / "data")[0] == 0
    ranges = [wanted for url, wanted in site.requests if "resolve" in url]
    assert ranges == [None, "bytes=100-", "bytes=100-", "bytes=100-", "bytes=150-"]


def test_a_connection_that_brings_nothing_is_given_up(site, tmp_path, capsys):
    path, _ = on_mirror(site, "ucf101", tmp_path)
    site.cuts = [100] + [0] * 100
    code, out, _ = run(capsys, "get", "ucf101", "--source", "mirror", "--root", tmp_path / "data")
    assert code == 1 and "cannot be fetched now (the connection ended early); what has come of it is kept." in out
    assert (tmp_path / "data/ucf101" / WORK / "ucf101.zip.part").stat().st_size == 100
    site.cuts = []
    assert run(capsys, "get", "ucf101", "--root", tmp_path / "data")[0] == 0
    assert site.requests[-1][1] == "bytes=100-"


def test_interrupted_while_unpacking(site, tmp_path, monkeypatch, capsys):
    on_mirror(site, "dtd", tmp_path)
    extract = zipfile.ZipFile.extract

    def stop(archive, member, path):
        if len(list((tmp_path / "data").rglob("*.jpg"))) == 7:
            raise KeyboardInterrupt
        return extract(archive, member, path)

    monkeypatch.setattr(zipfile.ZipFile, "extract", stop)
    assert run(capsys, "get", "dtd", "--root", tmp_path / "data")[0] == 130
    assert not (tmp_path / "data/dtd/images").exists()
    monkeypatch.setattr(zipfile.ZipFile, "extract", extract)
    site.requests.clear()
    picture(tmp_path / "data/dtd" / WORK / "unpacked/dtd/images/half.jpg")  # as if it had been killed
    assert run(capsys, "get", "dtd", "--root", tmp_path / "data")[0] == 0
    assert site.fetched() == [] and same_tree(tmp_path / "stub", tmp_path / "data")


def test_interrupted_while_laying_out(site, tmp_path, monkeypatch, capsys):
    """The split file comes last: what lacks it is not taken for complete."""
    on_mirror(site, "stanford_cars", tmp_path)
    replace, moved = os.replace, []

    def stop(source, target):
        if "unpacked" in str(source):
            moved.append(os.path.basename(target))
            if len(moved) == 3:
                raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(unpack.os, "replace", stop)
    assert run(capsys, "get", "stanford_cars", "--root", tmp_path / "data")[0] == 130
    monkeypatch.setattr(unpack.os, "replace", replace)
    assert moved == ["cars_train", "cars_test", "split_zhou_StanfordCars.json"]
    assert Found("stanford_cars", str(tmp_path / "data")).state == "incomplete"
    site.requests.clear()
    assert run(capsys, "get", "stanford_cars", "--root", tmp_path / "data")[0] == 0
    assert site.fetched() == [] and same_tree(tmp_path / "stub", tmp_path / "data")


def test_two_at_once(site, tmp_path, capsys):
    on_mirror(site, "dtd", tmp_path)
    (tmp_path / "data/dtd" / WORK).mkdir(parents=True)
    with filelock.FileLock(tmp_path / "data/dtd" / WORK / "lock"):
        code, _, err = run(capsys, "get", "dtd", "--root", tmp_path / "data")
    assert code == 1 and err == f"error: {tmp_path}/data/dtd is being filled by another process: wait for it\n"
    assert site.requests == []


def test_another_checksum(site, tmp_path, capsys):
    path, _ = on_mirror(site, "dtd", tmp_path)
    site.digests[path] = "ab" * 32
    code, out, _ = run(capsys, "get", "dtd", "--source", "mirror", "--root", tmp_path / "data")
    right = hashlib.sha256(site.files[path]).hexdigest()
    assert code == 1 and f"gave another file than it should ({right} instead of {'ab' * 32}); it was removed." in out
    assert not (tmp_path / "data/dtd" / WORK).exists() and not (tmp_path / "data/dtd/images").exists()


def test_a_refused_archive_gets_nothing(site, elsewhere, tmp_path, capsys):
    site.files[f"/{MIRROR}/resolve/main/dtd.zip"] = tarred([("dtd/images/a.jpg", b"x"), ("../evil", b"x")])
    code, out, err = run(capsys, "get", "dtd", "--root", tmp_path / "data")
    assert code == 1 and 'dtd.zip is refused: its member "../evil" would leave the folder' in out and "error" not in err
    assert Found("dtd", str(tmp_path / "data")).state == "absent"


# ---- disks -------------------------------------------------------------------------------------------------


def test_a_read_only_root(site, tmp_path, monkeypatch, capsys):
    on_mirror(site, "dtd", tmp_path)
    (tmp_path / "data").mkdir()
    makedirs = os.makedirs

    def read_only(path, *args, **kwargs):  # not chmod: it does not stop root
        if str(path).startswith(f"{tmp_path}/data/"):
            raise OSError(30, "Read-only file system", str(path))
        makedirs(path, *args, **kwargs)

    monkeypatch.setattr(os, "makedirs", read_only)
    code, _, err = run(capsys, "get", "dtd", "--root", tmp_path / "data")
    assert code == 1 and err == f"error: Read-only file system: {tmp_path}/data/dtd/{WORK}\n"
    assert site.requests == []


def test_a_disk_that_is_full(site, tmp_path, monkeypatch, capsys):
    on_mirror(site, "dtd", tmp_path)
    usage = fetch.shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda path: usage)
    code, out, _ = run(capsys, "get", "dtd", "--source", "mirror", "--root", tmp_path / "data")
    assert code == 1 and "has 0.0 GB free, and 0.0 are needed: make room first" in out
