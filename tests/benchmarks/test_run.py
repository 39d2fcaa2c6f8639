from types import SimpleNamespace

import pytest

from benchmarks import run
from tests.conftest import REPOSITORY

MARKS = {"imports": (1.0, 2.0), "model": (1.5, 4.0)}
STAGES = {"imports": (1.0, 2.0), "model": (0.5, 2.0), "all": (1.5, 4.0)}


def arguments(**changed):
    return SimpleNamespace(**{"trainer": "CoOp", "root": "", "rounds": 2, "against": None, **changed})


def test_stages_are_the_differences_between_marks():
    assert run.stages_of(MARKS) == STAGES


def test_a_run_starts_and_ends_with_its_first_step(tmp_path):
    stages = run.start(str(REPOSITORY), "CoOp", run.DATA)
    names = ["imports", "config, log", "data set", "model", "curves, first batch", "first step", "all"]
    assert list(stages) == names and all(min(times) >= 0 for times in stages.values())
    assert stages["imports"][0] > 0.1 and stages["all"][1] == pytest.approx(sum(s[1] for s in stages.values()) / 2)


def test_checkouts_take_turns_and_are_compared(monkeypatch):
    calls = []

    def start(checkout, trainer, root):
        calls.append(checkout)
        return STAGES if checkout == "/other" else {name: (cpu / 2, wall / 4) for name, (cpu, wall) in STAGES.items()}

    monkeypatch.setattr(run, "start", start)
    table = run.measure(arguments(against="/other"))
    assert calls == [str(REPOSITORY), "/other"] * 3  # a round to warm up
    assert table.rows[-1] == ["all", 0.75, 1.0, 1.5, 4.0, 0.5, 0.25] and "before: /other" in table.title
    table = run.measure(arguments())
    assert table.rows[0] == ["imports", 0.5, 0.5] and len(table.columns) == 3


def test_what_does_not_start_is_named(tmp_path):
    with pytest.raises(ValueError, match=f"no run started in {tmp_path}: .*"):
        run.start(str(tmp_path), "CoOp", "")
