import pytest

from benchmarks import harness
from harness.report.runs import find_runs
from harness.report.tables import base2new_tables


@pytest.fixture
def few(monkeypatch, tmp_path):
    monkeypatch.setattr(harness, "SWEPT", 4)
    monkeypatch.setattr(harness, "REPORTED", 6)
    monkeypatch.setattr(harness.tempfile, "tempdir", str(tmp_path))


def test_a_sweep_and_a_report_are_compared_with_their_limits_and_nothing_is_left(few, tmp_path):
    table = harness.measure(None)
    assert [(name, runs, kept) for name, runs, *_, kept in table.rows] == [("sweep", 4, "yes"), ("report", 6, "yes")]
    assert all(seconds > 0 for _, _, seconds, *_ in table.rows) and list(tmp_path.iterdir()) == []


def test_more_than_the_limit_is_seen(few, monkeypatch):
    monkeypatch.setattr(harness, "seconds_of", lambda *_: 60.0)
    assert [row[-1] for row in harness.measure(None).rows] == ["NO", "NO"]


def test_made_up_runs_are_read_as_finished_ones(tmp_path):
    for run in harness.runs(500):
        harness.leave(run, str(tmp_path), {"OPTIM.LR": 0.002})
    runs, warnings = find_runs(tmp_path)
    assert len(runs) == 500 and not warnings and all(run.accuracy for run in runs)
    assert base2new_tables(runs)


def test_a_sweep_that_fails_is_no_measurement(tmp_path, monkeypatch):
    monkeypatch.setattr(harness, "TRAIN", "def main(argv):\n    return 2\n")
    with pytest.raises(ValueError, match="sweep.py left 0 of 2 runs"):
        harness.sweep(str(tmp_path), 2)
