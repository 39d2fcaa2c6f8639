import pytest

from benchmarks import harness


@pytest.fixture
def few(monkeypatch, tmp_path):
    monkeypatch.setattr(harness, "SWEPT", 4)
    monkeypatch.setattr(harness, "REPORTED", 6)
    monkeypatch.setattr(harness.tempfile, "tempdir", str(tmp_path))


def test_a_sweep_and_a_report_are_compared_with_their_limits_and_nothing_is_left(few, tmp_path):
    table = harness.measure(None)
    assert [(name, runs, kept) for name, runs, *_, kept in table.rows] == [("sweep", 4, "yes"), ("report", 6, "yes")]
    assert all(seconds > 0 for _, _, seconds, *_ in table.rows) and list(tmp_path.iterdir()) == []


def test_a_sweep_that_fails_is_no_measurement(tmp_path, monkeypatch):
    monkeypatch.setattr(harness, "TRAIN", "def main(argv):\n    return 2\n")
    with pytest.raises(ValueError, match="sweep.py left 0 of 2 runs"):
        harness.sweep(str(tmp_path), 2)
