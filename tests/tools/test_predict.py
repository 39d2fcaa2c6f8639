"""tools/predict.py: pictures by any road, in every format, and what a person gets wrong."""

import csv
import io
import json
import os
import re
import struct
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from dassl.config import get_cfg_default
from datasets.image_folder import ImageFolder
from inference.api import load_run
from tests.conftest import exits
from tests.tiny import CLASSNAMES
from tests.trainers.methods import METHODS
from tools import predict

BOM = b"\xef\xbb\xbf"


@pytest.fixture
def run(run):
    """Folder of a finished test of zero-shot CLIP."""
    return run(METHODS["zsclip"])[0]


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    for i, name in enumerate(("b.png", "a.JPG", "below/c.png")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), (60 * i, 100, 200)).save(folder / name)
    (folder / "notes.txt").write_text("no picture")
    return folder


def names(lines):
    return [line.split(" ")[0].rpartition("/")[2] for line in lines.splitlines()]


def test_files_folders_and_patterns(run, pictures, capsys):
    for given, expected in (
        ([pictures], ["a.JPG", "b.png", "c.png"]),
        ([pictures / "b.png", pictures / "below"], ["b.png", "c.png"]),
        ([pictures / "*.png"], ["b.png"]),
        ([pictures / "**/*.png"], ["b.png", "c.png"]),
    ):
        assert predict.main(["--model-dir", run, "--batch-size", "2", *map(str, given)]) == 0
        assert names(capsys.readouterr().out) == expected


NAMES = ["a.png", "B.JPG", "c.Jfif", "d.gif", "e.WEBP", "._a.png", ".hidden.jpg", "f.heic", "g", "notes.txt", "png"]


@pytest.mark.parametrize("way", ["folder", "link to a folder", "links to files"])
def test_a_folder_is_read_as_for_training(run, tmp_path, way, capsys):
    """The same files, and a line that counts the same others."""
    real, tree = tmp_path / "real", tmp_path / "image_folder"
    for split in ("train", "test"):
        for name in ("cat", "ox"):
            (real / split / name).mkdir(parents=True)
            for file in NAMES:
                Image.new("RGB", (8, 8)).save(real / split / name / file, "PNG")
            (tree / split).mkdir(parents=True, exist_ok=True)
            if way == "links to files":
                (tree / split / name).mkdir()
                for file in NAMES:
                    (tree / split / name / file).symlink_to(real / split / name / file)
            elif way == "folder":
                (real / split / name).rename(tree / split / name)
            else:
                (tree / split / name).symlink_to(real / split / name)
    cfg = get_cfg_default()
    cfg.DATASET.ROOT = str(tmp_path)
    capsys.readouterr()
    trained = [item.impath for item in ImageFolder(cfg).test]
    (said,) = [line for line in capsys.readouterr().out.splitlines() if "passed over" in line]
    assert "16 files or folders" in said and len(trained) == 10
    assert predict.main(["--model-dir", run, "--format", "json", str(tree / "test")]) == 0
    out, err = capsys.readouterr()
    assert [json.loads(line)["path"] for line in out.splitlines()] == trained
    (said,) = [line for line in err.splitlines() if "passed over" in line]
    assert "8 files or folders (cat/f.heic, cat/g, cat/notes.txt, cat/png, ox/f.heic, ...)" in said


def test_links_that_lead_in_a_circle(run, pictures, capsys):
    (pictures / "below/again").symlink_to(pictures)
    (pictures / "also").symlink_to(pictures / "below")
    assert predict.main(["--model-dir", run, str(pictures)]) == 0
    assert names(capsys.readouterr().out) == ["a.JPG", "b.png", "c.png", "c.png"]


def test_a_pattern_of_nothing_is_named(run, pictures, capsys):
    assert predict.main(["--model-dir", run, str(pictures), "none/*.png"]) == 1
    out, err = capsys.readouterr()
    assert len(names(out)) == 3 and 'error: image "none/*.png" does not exist' in err


def test_formats_say_the_same(run, pictures, capsys):
    def printed(style):
        assert predict.main(["--model-dir", run, "--top", "2", "--format", style, str(pictures / "b.png")]) == 0
        return capsys.readouterr().out

    found = json.loads(printed("json"))
    rows = list(csv.DictReader(io.StringIO(printed("csv"))))
    assert found["path"] == rows[0]["path"] == str(pictures / "b.png") and len(rows) == 2
    for row, best in zip(rows, found["predictions"]):
        assert row["class"] == best["class"] in CLASSNAMES
        assert float(row["probability"]) == pytest.approx(best["probability"])
        assert f"{best['class']} {100 * best['probability']:.1f} %" in printed("text")
    assert [row["rank"] for row in rows] == ["1", "2"]


def test_other_classes(run, pictures, tmp_path, capsys):
    (tmp_path / "classes.txt").write_bytes(BOM + b"red cat\r\n\r\n\tbox\t\r")
    for option in (["--classes", "red cat, box"], ["--classes-file", str(tmp_path / "classes.txt")]):
        assert predict.main(["--model-dir", run, *option, "--format", "json", str(pictures / "b.png")]) == 0
        found = json.loads(capsys.readouterr().out)["predictions"]
        assert {best["class"] for best in found} == {"red cat", "box"}
        assert sum(best["probability"] for best in found) == pytest.approx(1)


def test_embed(run, pictures, tmp_path, capsys):
    file = tmp_path / "features.npz"
    assert predict.main(["--model-dir", run, "--embed", str(file), str(pictures)]) == 0
    with np.load(file) as found:
        assert found["features"].shape == (3, 32) and len(found["paths"]) == 3
        np.testing.assert_allclose((found["features"] ** 2).sum(1), 1, rtol=1e-5)


def test_a_bad_picture_is_named_and_the_others_go_on(run, pictures, capsys):
    (pictures / "aa.png").write_bytes(b"cut off")
    assert predict.main(["--model-dir", run, str(pictures), str(pictures / "none.png")]) == 1
    out, err = capsys.readouterr()
    assert names(out) == ["a.JPG", "b.png", "c.png"]
    errors = [line for line in err.splitlines() if line.startswith("error:")]
    assert "aa.png" in errors[0] and "cannot be decoded" in errors[0] and 'none.png" does not exist' in errors[1]


def png_of_size(width, height):
    """A PNG that says so, and holds one row of black."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    row = zlib.compress(bytes(1 + width))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", row) + chunk(b"IEND", b"")


def saved(image, style="PNG", **options):
    file = io.BytesIO()
    image.save(file, style, **options)
    return file.getvalue()


NOISE = Image.merge("RGB", [Image.effect_noise((40, 30), 90).rotate(angle) for angle in (0, 90, 180)])
LEVELS = (np.arange(40 * 30) % 256).astype(np.uint8).reshape(30, 40)
DEEP = Image.fromarray(257 * LEVELS.astype(np.uint16))
FLOATS = (LEVELS / 255).astype(np.float32)
GOOD = {  # name -> its bytes, and an image that is read as this one is
    "palette.png": (saved(NOISE.convert("P"), transparency=3), NOISE.convert("P")),
    "bits.png": (saved(NOISE.convert("1")), NOISE.convert("1")),
    "grey_and_alpha.png": (saved(NOISE.convert("LA")), NOISE.convert("L")),
    "alpha.png": (saved(NOISE.convert("RGBA")), NOISE),
    "16_bits.png": (saved(DEEP), Image.fromarray(LEVELS)),
    "16_bits.tif": (saved(DEEP, "TIFF"), Image.fromarray(LEVELS)),
    "floats.tif": (saved(Image.fromarray(FLOATS), "TIFF"), Image.fromarray(LEVELS)),
    "animated.gif": (
        saved(NOISE.convert("P"), "GIF", save_all=True, append_images=[Image.new("P", NOISE.size)] * 2),
        NOISE.convert("P"),
    ),
    "really_a_png.jpg": (saved(NOISE), NOISE),
}
BAD = {  # name -> its bytes, and what is said of it
    "empty.png": (b"", "cannot be decoded"),
    "cut.png": (saved(NOISE)[:600], "cannot be decoded"),
    "cut.jpg": (saved(NOISE, "JPEG")[:300], "cannot be decoded"),
    "cut.gif": (saved(NOISE.convert("P"), "GIF")[:20], "cannot be decoded"),
    "cut.tif": (saved(NOISE, "TIFF")[:100], "cannot be decoded"),
    "cut.webp": (saved(NOISE, "WEBP")[:50], "cannot be decoded"),
    "wrong_checksum.png": (saved(NOISE).replace(b"IDAT", b"IDAU"), "cannot be decoded"),
    "text.jpg": (b"To be taken later.\n" * 9, "cannot be decoded"),
    "page.jpg": (b"<html><body>404 Not Found</body></html>", "cannot be decoded"),
    "bomb.png": (png_of_size(30_000, 30_000), "cannot be decoded.*900000000 pixels"),
    "nan.tif": (saved(Image.fromarray(np.full((8, 8), np.nan, np.float32)), "TIFF"), "floats are from nan to nan"),
    "255.tif": (saved(Image.fromarray(255 * FLOATS), "TIFF"), "floats are from 0 to 255"),
    "32_bits.tif": (saved(Image.fromarray(np.full((8, 8), 9**9, np.int32)), "TIFF"), "whole numbers of 32 bits"),
}


def test_good_and_bad_pictures_of_every_kind(run, tmp_path, capsys):
    folder = tmp_path / "all"
    (folder / "folder.png").mkdir(parents=True)
    for name, (content, _) in {**GOOD, **BAD}.items():
        (folder / name).write_bytes(content)
    NOISE.convert("CMYK").save(folder / "folder.png/cmyk.jpg")
    (folder / "link.png").symlink_to(folder / "nowhere.png")

    assert predict.main(["--model-dir", run, "--format", "json", str(folder)]) == 1
    out, err = capsys.readouterr()
    found = {os.path.basename(line["path"]): line["predictions"] for line in map(json.loads, out.splitlines())}
    assert found.keys() == GOOD.keys() | {"cmyk.jpg"}
    lines = err.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == len(BAD) + 1 and re.search('link.png" does not exist', err)
    for name, (_, sentence) in BAD.items():
        (of_it,) = [line for line in errors if f"/{name}" in line]
        assert re.search(sentence, of_it)
    assert len([line for line in lines if "are scaled to 8 bits by their own depth" in line]) == 1

    model = load_run(run)
    for name, (_, image) in GOOD.items():
        expected = {best.classname: best.probability for best in model.predict(image.convert("RGB"))[0]}
        assert {best["class"]: best["probability"] for best in found[name]} == pytest.approx(expected, abs=1e-5), name


def test_pictures_are_not_turned(run, tmp_path, capsys):
    """As Dassl's and CoOp's readers, which leave out what a camera says of its position."""
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    NOISE.save(tmp_path / "plain.jpg")
    NOISE.save(tmp_path / "turned.jpg", exif=exif)
    assert predict.main(["--model-dir", run, "--format", "json", str(tmp_path / "*.jpg")]) == 0
    plain, turned = map(json.loads, capsys.readouterr().out.splitlines())
    assert plain["predictions"] == turned["predictions"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_picture_that_may_not_be_read(run, pictures, capsys):
    (pictures / "b.png").chmod(0)
    assert predict.main(["--model-dir", run, str(pictures)]) == 1
    out, err = capsys.readouterr()
    assert names(out) == ["a.JPG", "c.png"] and "Permission denied" in err


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, names of files are text")
def test_a_name_that_is_no_text(run, pictures, capfdbinary):
    os.rename(pictures / "b.png", os.fsencode(pictures) + b"/\xff.png")
    assert predict.main(["--model-dir", run, str(pictures)]) == 0
    assert b"/\xff.png" in capfdbinary.readouterr().out


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["--model-dir", "none", "a.png"], "none.* is no folder of a run"),
        (["--model-dir", "RUN", "FOLDER"], "there are no pictures in"),
        (["--model-dir", "RUN", "--classes-file", "none.txt", "a.png"], "none.txt.* cannot be read"),
        (["--model-dir", "RUN", "--classes", "owl,ox,owl", "a.png"], 'CLIP reads "owl" and "owl" alike'),
        (["--model-dir", "RUN", "--classes", "red circle,red_circle", "a.png"], '"red circle" and "red_circle" alike'),
        (["--model-dir", "RUN", "--classes", "", "a.png"], "--classes names no class: write one or more"),
        (["--model-dir", "RUN", "--classes-file", "EMPTY", "a.png"], "empty.txt. names no class"),
        (
            ["--model-dir", "RUN", "--classes-file", "TWICE", "a.png"],
            'reads "Red circle" and "red circle" alike',
        ),
        (["--model-dir", "RUN", "--classes-file", "LATIN", "a.png"], "latin.txt, line 2, is no UTF-8"),
        (["--model-dir", "RUN", "--classes-file", "JSON", "a.png"], "json.txt. is a list of another form"),
        (["--model-dir", "RUN", "--embed", "features", "a.png"], 'call the file "features.npz"'),
    ],
)
def test_mistakes(run, tmp_path, words, sentence, capsys):
    (tmp_path / "empty").mkdir()
    files = {"EMPTY": b"", "TWICE": BOM + b"Red\tcircle\r\nred circle", "LATIN": b"a\ncaf\xe9", "JSON": b'["a", "b"]'}
    for name, content in files.items():
        (tmp_path / f"{name.lower()}.txt").write_bytes(content)
    given = {name: str(tmp_path / f"{name.lower()}.txt") for name in files}
    words = [{"RUN": run, "FOLDER": str(tmp_path / "empty"), **given}.get(word, word) for word in words]
    assert exits(predict.main, words) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ") and re.search(sentence, err)


@pytest.mark.parametrize("option", ["--top", "--batch-size"])
def test_numbers(option, capsys):
    with pytest.raises(SystemExit, match="2"):
        predict.main(["--model-dir", "a", option, "0", "a.png"])
    assert "must be 1 or more" in capsys.readouterr().err
