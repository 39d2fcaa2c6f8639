"""prepare_data get: from the original sites, whose addresses are the steps of DATASETS.md; the server is in web.py."""

import re

import huggingface_hub
import pytest

from datasets.prepare.get import WORK
from datasets.prepare.remotes import of_step
from datasets.prepare.state import loader_of
from datasets.sources import step_for
from tests.datasets.prepare.web import MIRROR, on_mirror, same_tree, tarred, zipped, zipped_entries
from tests.datasets.stubs import folders_of, make
from tests.tools.conftest import FETCHED, run

pytestmark = pytest.mark.usefixtures("stub_sizes")


def original(site, stem, tmp_path):
    """Put what a data set's steps name on the server, packed as its authors do."""
    parts = make(stem, tmp_path / "stub")
    folder = tmp_path / "stub" / folders_of(stem)[0]
    for name in loader_of(stem).files():
        remote = of_step(step_for("ImageNet" if name == "classnames.txt" else loader_of(stem).__name__, name))
        if remote is None:
            continue
        path = remote.url[len(site.url) :] if remote.url.startswith(site.url) else remote.url
        if remote.name == name:
            site.files[path] = (folder / name).read_bytes()
        elif remote.name == "caltech-101.zip":
            inner = [(p.relative_to(folder).as_posix(), p.read_bytes()) for p in folder.rglob("*.jpg")]
            (tmp_path / "outer").mkdir()
            (tmp_path / "outer/101_ObjectCategories.tar.gz").write_bytes(tarred(inner))
            site.files[path] = zipped(tmp_path / "outer", "caltech-101")
        else:
            top = {"food-101.tar.gz": "food-101/", "fgvc-aircraft-2013b.tar.gz": "fgvc-aircraft-2013b/data/"}
            top = top.get(remote.name, "")
            files = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.name[:5] not in ("split", "class")]
            if stem == "stanford_cars":
                files = [p for p in files if remote.name.startswith(p.parent.name)]
            entries = [(top + p.relative_to(folder).as_posix(), p.read_bytes()) for p in files]
            is_zip = remote.name.endswith("zip")
            site.files[path] = (
                zipped_entries(entries) if is_zip else tarred(entries, f"w:{'gz' * ('gz' in remote.name)}")
            )
    return parts


@pytest.mark.parametrize("stem", [name for name in FETCHED if name != "imagenet_sketch"])
def test_from_the_original_sites(stem, site, elsewhere, drive, tmp_path, capsys):
    original(site, stem, tmp_path)
    code, out, _ = run(capsys, "get", stem, "--root", tmp_path / "data")
    assert "on the hub has no archive for" in out  # the mirror was asked first
    assert code == 0, out
    assert same_tree(tmp_path / "stub", tmp_path / "data")
    assert sum("/api/models/" in url for url, _ in site.requests) == 1


def test_without_the_hub(site, elsewhere, drive, tmp_path, monkeypatch, capsys):
    def refuse(api, *args, **kwargs):
        raise RuntimeError("no route\nto host")

    original(site, "dtd", tmp_path)
    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_tree", refuse)
    code, out, _ = run(capsys, "get", "dtd", "--root", tmp_path / "data")
    assert code == 0 and f"the hub's list of {MIRROR} cannot be read (no route to host).\n" in out


def test_one_source_only(site, elsewhere, drive, tmp_path, capsys):
    on_mirror(site, "dtd", tmp_path)
    code, out, _ = run(capsys, "get", "dtd", "--source", "original", "--root", tmp_path / "data")
    assert code == 1 and "dtd-r1.0.1.tar.gz answers 404 Not Found." in out and "dtd.zip" not in site.fetched()
    assert out.count("By hand (DATASETS.md, line ") == 2
    assert run(capsys, "get", "dtd", "--source", "mirror", "--root", tmp_path / "data")[0] == 0


def test_what_the_mirror_lacks_comes_from_the_original(site, elsewhere, drive, tmp_path, capsys):
    original(site, "dtd", tmp_path)
    (tmp_path / "less/dtd").mkdir(parents=True)
    (tmp_path / "stub/dtd/images").rename(tmp_path / "less/dtd/images")
    site.files[f"/{MIRROR}/resolve/main/dtd.zip"] = zipped(tmp_path / "less")
    assert run(capsys, "get", "dtd", "--root", tmp_path / "data")[0] == 0
    assert not any("dtd-r1.0.1" in name for name in site.fetched()) and len(site.fetched()) == 2


def test_a_split_file_alone_is_not_taken_from_an_archive_of_images(site, elsewhere, drive, tmp_path, capsys):
    on_mirror(site, "food101", tmp_path)
    original(site, "food101", tmp_path)
    make("food101", tmp_path / "data")
    split = tmp_path / "data/food-101/split_zhou_Food101.json"
    split.unlink()
    assert run(capsys, "get", "food101", "--root", tmp_path / "data")[0] == 0
    assert len(site.fetched()) == 1 and site.fetched()[0].startswith("download?id=1QK0tGi096I0Ba6kggatX1ee6dJFIcEJl")

    split.unlink()
    site.pages.add("/download")  # what Drive answers when too many have asked
    code, out, _ = run(capsys, "get", "food101", "--root", tmp_path / "data")
    assert code == 0 and "gives a web page instead of the file: open it in a browser." in out
    assert site.fetched()[-1] == "food-101.zip"


def test_an_archive_that_holds_something_else(site, elsewhere, tmp_path, capsys):
    make("dtd", tmp_path / "stub")
    site.files[f"/{MIRROR}/resolve/main/eurosat.zip"] = zipped(tmp_path / "stub")
    code, out, _ = run(capsys, "get", "eurosat", "--source", "mirror", "--root", tmp_path / "data")
    assert code == 1 and "eurosat.zip holds none of 2750, split_zhou_EuroSAT.json" in out
    assert re.search(r"EuroSAT in .*/eurosat is absent: no 2750; no split_zhou_EuroSAT.json\n", out)
    assert "By hand (DATASETS.md, line " in out and "Download `EuroSAT.zip` from" in out
    assert list((tmp_path / "data/eurosat").iterdir()) == [tmp_path / "data/eurosat" / WORK]


def test_imagenet_is_by_hand(site, elsewhere, drive, tmp_path, capsys):
    original(site, "imagenet", tmp_path)
    code, out, _ = run(capsys, "get", "imagenet", "--root", tmp_path / "data")
    assert code == 1 and "ImageNet in " in out and "is incomplete: no images/train; no images/val\n" in out
    by_hand = [line for line in out.splitlines() if line.startswith("By hand")]
    assert len(by_hand) == 2 and "ILSVRC2012_img_train.tar" in by_hand[0] and "ILSVRC2012_img_val.tar" in by_hand[1]
    got, given = (tmp_path / f"{root}/imagenet/classnames.txt" for root in ("data", "stub"))
    assert got.read_text() == given.read_text()
    assert not any("/api/" in url for url, _ in site.requests)
    make("imagenet", tmp_path / "data")
    assert run(capsys, "get", "imagenet", "--root", tmp_path / "data")[0] == 0
    assert not (tmp_path / "data/imagenet" / WORK).exists()


def test_a_damaged_split_file_is_not_overwritten(site, tmp_path, capsys):
    on_mirror(site, "dtd", tmp_path)
    make("dtd", tmp_path / "data")
    split = tmp_path / "data/dtd/split_zhou_DescribableTextures.json"
    split.write_text("{")
    code, out, _ = run(capsys, "get", "dtd", "--root", tmp_path / "data")
    assert code == 1 and "Remove the file that is damaged, then run this again." in out and split.read_text() == "{"
    assert site.requests == []


def test_get_all(site, elsewhere, tmp_path, capsys):
    for stem in FETCHED:
        on_mirror(site, stem, tmp_path)
    code, out, _ = run(capsys, "get", "all", "--root", tmp_path / "data")
    assert code == 1 and out.count(" is complete in ") == 14 and "ImageNet in " in out
