from types import SimpleNamespace

import pytest

from benchmarks import run
from tests.conftest import REPOSITORY
from trainers.base import PromptTrainer

TRAIN = """
def main(argv):
    from trainers.base import PromptTrainer
    trainer = PromptTrainer()
    print("not the answer")
    trainer.build_data_loader()
    trainer.build_model()
    trainer.forward_backward("a batch")
    raise AssertionError("a second step")
"""
BASE = """
import time

class PromptTrainer:
    def build_data_loader(self):
        time.sleep(0.1)
    def build_model(self):
        pass
    def forward_backward(self, batch):
        pass
"""
MARKS = {"imports": (1.0, 2.0), "model": (1.5, 4.0)}
STAGES = {"imports": (1.0, 2.0), "model": (0.5, 2.0), "all": (1.5, 4.0)}


def arguments(**changed):
    return SimpleNamespace(**{"trainer": "CoOp", "root": "", "rounds": 2, "against": None, **changed})


def test_stages_are_the_differences_between_marks():
    assert run.stages_of(MARKS) == STAGES


def test_a_run_ends_with_its_first_step(tmp_path):
    """In a checkout where it does nothing, but for the data set's tenth of a second."""
    (tmp_path / "trainers").mkdir()
    (tmp_path / "train.py").write_text(TRAIN)
    (tmp_path / "trainers" / "base.py").write_text(BASE)
    stages = run.start(str(tmp_path), "CoOp", "")
    names = ["imports", "config, log", "data set", "model", "curves, first batch", "first step", "all"]
    assert list(stages) == names and all(min(times) >= 0 for times in stages.values())
    assert stages["data set"][1] >= 0.1 and stages["all"][1] == pytest.approx(sum(s[1] for s in stages.values()) / 2)


def test_what_is_timed_is_what_a_trainer_has():
    assert all(hasattr(PromptTrainer, name) for name in ("build_data_loader", "build_model", "forward_backward"))


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
