"""tools/interpret.py: every format, what it says besides, figures, and what a person gets wrong."""

import csv
import io
import json

import pytest
from PIL import Image

from tests.conftest import exits
from tests.trainers.methods import METHODS, often
from tools import interpret


@pytest.fixture
def printed(capsys):
    """printed(argument, ...) -> what the command wrote to stdout and stderr."""

    def call(*arguments):
        capsys.readouterr()
        assert interpret.main(list(map(str, arguments))) == 0
        return capsys.readouterr()

    return call


def test_formats_say_the_same(run, printed):
    folder = run(METHODS["maple"])[0]
    out = printed("--model-dir", folder, "--top", 3, "--format", "json").out
    tokens = [json.loads(line) for line in out.splitlines()]
    assert [(t["layer"], t["class"], t["token"]) for t in tokens] == [(i, None, n) for i in (0, 1) for n in (1, 2)]
    rows = list(csv.DictReader(io.StringIO(printed("--model-dir", folder, "--top", 3, "--format", "csv").out)))
    assert [row["rank"] for row in rows] == ["1", "2", "3"] * 4
    text = printed("--model-dir", folder, "--top", 3).out.splitlines()
    assert [line for line in text if line.endswith(":")] == ["Layer 0, the input:", "Layer 1:"]
    for i, token in enumerate(tokens):
        for row, word in zip(rows[3 * i :], token["words"]):
            assert (row["layer"], row["class"], row["token"]) == (str(token["layer"]), "", str(token["token"]))
            assert row["word"] == word["word"] and float(row["distance"]) == pytest.approx(word["distance"])
        line = ", ".join(f"{word['word']} {word['distance']:.4f}" for word in token["words"])
        assert f"{token['token']:4}   {line}" in text


REMARKS = {
    "cocoop": "the meta network adds one vector, another one for each image",
    "tcp": "Before layer 1 what has become of the shared tokens gives way",
    "sep": "Before layer 1 they are merged",
    "promptsrc": "words near them mean little",
    "zsclip": "ZeroshotCLIP learns no context tokens",
}


@pytest.mark.parametrize("name", often(REMARKS, ["sep", "promptsrc", "zsclip"]))
def test_remarks_stay_out_of_what_programs_read(name, run, printed):
    folder, remark = run(METHODS[name])[0], REMARKS[name]
    assert remark in printed("--model-dir", folder).out
    for style in ("json", "csv"):
        out, err = printed("--model-dir", folder, "--format", style)
        assert remark in err and remark not in out


def test_figures(run, printed, tmp_path):
    folder, pictures = run(METHODS["sep"])[0], []
    for name, colour in (("one.png", "red"), ("two.jpg", "blue")):
        Image.new("RGB", (50, 40), colour).save(tmp_path / name)
        pictures.append(tmp_path / name)
    out = printed("--model-dir", folder, "--image", *pictures, "--output", tmp_path / "new/figures").out
    drawn = [tmp_path / "new/figures" / name for name in ("one_tokens.png", "two_tokens.png")]
    assert out.split() == list(map(str, drawn))
    for path in drawn:
        with Image.open(path) as figure:
            assert figure.width > 2 * figure.height


@pytest.mark.parametrize(
    "name, words, sentence",
    [
        ("kgcoop", ["--image", "a.png"], "KgCoOp chooses none of an image's tokens: leave --image out"),
        ("sep", ["--image", "a.png", "below/a.png"], 'several pictures are called "a"'),
        ("sep", ["--image", "none.png"], '"none.png" does not exist'),
        ("sep", ["--image", "a.png", "--output", "a.png"], "a.png/a_tokens.png cannot be written"),
    ],
)
def test_mistakes(name, words, sentence, run, tmp_path, monkeypatch, capsys):
    folder = run(METHODS[name])[0]
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (50, 40)).save("a.png")
    assert exits(interpret.main, ["--model-dir", folder, *words]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ") and sentence in err and not list(tmp_path.glob("**/*_tokens.png"))


def test_no_run(tmp_path, capsys):
    assert exits(interpret.main, ["--model-dir", str(tmp_path)]) == 1
    assert "is no folder of a run" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        interpret.main(["--model-dir", "a", "--top", "0"])
    assert "must be 1 or more" in capsys.readouterr().err
