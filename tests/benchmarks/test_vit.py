import argparse

import pytest
import torch

from benchmarks import budget, vit

TINY = 32, 32, 3, 64, 8, 77, 49408, 64, 1, 3


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setattr(vit, "GEOMETRY", TINY)


def test_names():
    names = vit.names_of(21000)
    assert len(set(names)) == 21000 and names[:2] == ["red airplane", "green airplane"] and len(names[-1].split()) > 3


@pytest.mark.parametrize("name", ["CoOp", "CoCoOp", "SEP"])
def test_a_step_and_an_evaluation(name):
    model, precision = vit.model_of(name, 5)
    images, labels = vit.batch_of(2, 5)
    model.monitors["of the last step"] = torch.zeros(())
    vit.step(model, precision, (images, labels))
    assert "of the last step" not in model.monitors  # with it, a step as CUDA graphs would be recorded anew
    assert all(p.grad is not None for p in model.prompt_learner.parameters())
    logits = vit.evaluate(model, precision, images)
    assert logits.shape == (2, 5) and torch.isfinite(logits).all() and not model.training


def arguments(*words):
    parser = argparse.ArgumentParser()
    budget.add_arguments(parser)
    return parser.parse_args([*words, "--device", "cpu", "--rounds", "1"])


def test_a_budget_is_steps_and_tests(monkeypatch):
    """One second for each image and two for each class in a step, and half a second for a test image."""
    costs = {"seconds": 1.0, "TFLOP": 10.0}
    monkeypatch.setattr(
        budget, "costs_of", lambda args, kind: (lambda b, c: costs[kind] * (b + 2 * c), costs[kind] * 0.5)
    )
    table = budget.measure(arguments("--seeds", "2", "--tflops", "100", "--share", "0.5"))
    rows = {row[0]: row for row in table.rows}
    _, base, epochs, steps, hours, petaflop, estimate = rows["dtd"]
    assert (base, epochs, steps) == (24, 50, 50 * 12)
    seconds = 2 * (600 * (32 + 48) + 0.5 * 1692)
    assert hours == pytest.approx(seconds / 3600) and petaflop == pytest.approx(seconds / 100)
    assert estimate == pytest.approx(10 * seconds / 50 / 3600)
    assert rows["sun397"][2:4] == [10, 10 * (199 * 16 // 128)]  # its own config: 128 a batch
    assert rows["all"][4] == pytest.approx(sum(row[4] for row in table.rows[:-1]))


def test_costs_are_straight_lines():
    """What three measurements say of operations holds for other batches and classes."""
    args = arguments("--trainer", "CoOp")
    of_step, of_test = budget.costs_of(args, "TFLOP")
    model, precision = vit.model_of("CoOp", 30)
    batch = vit.batch_of(6, 30)
    assert of_step(6, 30) == pytest.approx(budget.counted(lambda: vit.step(model, precision, batch), args), rel=0.05)
    assert of_test > 0


def test_a_method_that_learns_nothing():
    with pytest.raises(ValueError, match="ZeroshotCLIP is no method that learns: choose from CoOp, "):
        budget.measure(arguments("--trainer", "ZeroshotCLIP"))
