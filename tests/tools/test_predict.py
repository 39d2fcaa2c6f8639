"""tools/predict.py: pictures by any road, in every format, and what a person gets wrong."""

import csv
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from tests.tiny import CLASSNAMES
from tools import predict


@pytest.fixture
def run(make_trainer, tmp_path):
    """Folder of a finished test of zero-shot CLIP."""
    trainer = make_trainer("ZeroshotCLIP")
    trainer.test()
    (tmp_path / "output/config.yaml").write_text(trainer.cfg.dump())
    return str(tmp_path / "output")


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
    (tmp_path / "classes.txt").write_text("red cat\n\nbox\n")
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


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["--model-dir", "none", "a.png"], "none.* is no folder of a run"),
        (["--model-dir", "RUN", "FOLDER"], "there are no pictures in"),
        (["--model-dir", "RUN", "--classes-file", "none.txt", "a.png"], "none.txt.* cannot be read"),
        (["--model-dir", "RUN", "--classes", "owl,owl", "a.png"], 'Class "owl" is named more than once'),
        (["--model-dir", "RUN", "--embed", "features", "a.png"], 'call the file "features.npz"'),
    ],
)
def test_mistakes(run, tmp_path, words, sentence, capsys):
    (tmp_path / "empty").mkdir()
    words = [{"RUN": run, "FOLDER": str(tmp_path / "empty")}.get(word, word) for word in words]
    assert predict.main(words) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ") and re.search(sentence, err)


@pytest.mark.parametrize("option", ["--top", "--batch-size"])
def test_numbers(option, capsys):
    with pytest.raises(SystemExit, match="2"):
        predict.main(["--model-dir", "a", option, "0", "a.png"])
    assert "must be 1 or more" in capsys.readouterr().err
