import json

import pytest

from benchmarks import data
from benchmarks.table import Table
from harness.errors import UserError
from tests.conftest import exits
from tools import bench


@pytest.mark.parametrize("subject", bench.SUBJECTS)
def test_every_subject_has_a_help(subject, capsys):
    with pytest.raises(SystemExit, match="0"):
        bench.main([subject, "--help"])
    assert f"{subject} [-h]" in capsys.readouterr().out and f"bench.py {subject} " in bench.__doc__


def test_a_table_is_printed_for_people_or_for_programs(monkeypatch, capsys):
    monkeypatch.setattr(data, "measure", lambda args: Table("Title", [("ms", ".1f")], [[0.25]]))
    assert bench.main(["data"]) == 0
    assert capsys.readouterr().out.split() == "Title | ms | |------| | 0.2 |".split()
    assert bench.main(["--json", "data"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == [[0.25]]


def test_a_mistake_is_one_sentence(monkeypatch, capsys):
    def mistake(args):
        raise UserError("none of these trainers learns anything: ZeroshotCLIP")

    monkeypatch.setattr(data, "measure", mistake)
    assert exits(bench.main, ["data"]) == 1
    assert capsys.readouterr().err == "error: none of these trainers learns anything: ZeroshotCLIP\n"
