"""The command: what it prints, for people and for programs, and how it ends."""

import json

import pytest

from tests.datasets.prepare.web import stub_sizes  # noqa: F401  fixture
from tests.datasets.stubs import make
from tools import doctor


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("OUTPUT", str(tmp_path / "output"))
    make("dtd", tmp_path / "data")
    return str(tmp_path / "data")


@pytest.mark.usefixtures("stub_sizes")
def test_what_is_printed(root, capsys):
    """The stub's split file is a fault, the only one."""
    command = ["--data", root, "--backbone", "shapes-tiny"]
    assert doctor.main(command) == 1
    *lines, last = capsys.readouterr().out.splitlines()
    checks = [line[7:].partition(": ")[0] for line in lines]
    assert {line[:7] for line in lines} <= {"ok     ", "note   ", "fault  "}
    assert list(dict.fromkeys(checks)) == [
        *("python", "packages", "clip", "torch", "gpu", "cores", "weights", "data, dtd", "output", "data root")
    ]
    (fault,) = [line for line in lines if line.startswith("fault")]
    assert "the split is another than CoOp's" in fault and last.startswith("1 fault, ")

    assert doctor.main([*command, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [f"{f['level']:<5}  {f['check']}: {f['text']}" for f in found["findings"]] == [
        line.partition("; move it")[0] if line == fault else line for line in lines
    ]
    assert found["tables"] == []


def test_wrong_arguments(root, capsys):
    assert doctor.main(["--data", root, "--datasets", "dtt"]) == 2
    assert 'error: There is no data set "dtt"; the nearest are dtd' in capsys.readouterr().err


def test_without_data_openais_backbone_is_looked_for(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert doctor.main(["--data", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "fault  weights: ViT-B/16 is not in" in out and "holds none of the data sets; python tools/prepare" in out
