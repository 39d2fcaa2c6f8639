"""tools/export.py: what it prints, and what a person gets wrong; tests/inference/test_export.py has the files."""

import json
import re

import pytest
from safetensors import safe_open

from tests.conftest import exits
from tests.trainers.methods import METHODS
from tools import export


def test_a_file_and_what_is_said(run, tmp_path, capsys):
    folder, file = run(METHODS["kgcoop"])[0], str(tmp_path / "new/kgcoop.safetensors")
    capsys.readouterr()
    assert export.main(["--model-dir", folder, "--output", file, "--classes", "red cat, box"]) == 0
    sentence = r": 2 classes; on 16 random pictures, in batches of 1, 4, 11, logits are the run's to \d\.\de-\d\d\n"
    assert re.fullmatch(re.escape(file) + sentence, capsys.readouterr().out)
    with safe_open(file, "pt") as opened:
        assert json.loads(opened.metadata()["classnames"]) == ["red cat", "box"]


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["--model-dir", "none", "--output", "a.onnx"], "none.* is no folder of a run"),
        (["--model-dir", "RUN", "--output", "a.bin"], "let .a.bin. end in .safetensors or .onnx or .pt2"),
        (["--model-dir", "RUN", "--output", "a.safetensors", "--device", "cpu"], "Only a .pt2 is made for a device"),
        (["--model-dir", "RUN", "--output", "a.safetensors"], "MaPLe has learned on the image side"),
        (["--model-dir", "RUN", "--output", "a.pt2", "--classes-file", "none.txt"], "none.txt.* cannot be read"),
    ],
)
def test_mistakes(run, tmp_path, monkeypatch, words, sentence, capsys):
    monkeypatch.chdir(tmp_path)
    folder = run(METHODS["maple"])[0]
    assert exits(export.main, [folder if word == "RUN" else word for word in words]) == 1
    err = capsys.readouterr().err.splitlines()[-1]
    assert err.startswith("error: ") and re.search(sentence, err)
    assert not list(tmp_path.glob("a.*"))
