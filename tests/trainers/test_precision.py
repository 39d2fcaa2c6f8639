"""Loss scaling goes on where it was; in runs, precision is tested in test_base.py."""

import pytest
import torch

from trainers.precision import Precision


@pytest.fixture
def scaled():
    precision = Precision("fp32", "cpu")
    precision.scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    precision.scaler._lazy_init_scale_growth_tracker(torch.device("cpu"))
    return precision


def test_state(scaled):
    state = scaled.state_dict()
    assert state["scale"] == 64.0
    scaled.load_state_dict({**state, "scale": 8.0, "_growth_tracker": 7})
    assert scaled.state_dict() == {**state, "scale": 8.0, "_growth_tracker": 7}
    scaled.load_state_dict({})  # of a run without
    assert scaled.state_dict()["scale"] == 8.0
    without = Precision("fp32", "cpu")
    without.load_state_dict(state)
    assert without.state_dict() == {}


@pytest.mark.parametrize("value", [None, 0.0, -1.0, float("nan"), float("inf"), "8", torch.tensor(8.0)])
def test_what_is_no_state(scaled, value):
    with pytest.raises(ValueError, match="no state of the loss scaling, whose scale is a number"):
        scaled.load_state_dict({**scaled.state_dict(), "scale": value})
    with pytest.raises(ValueError, match="scale"):
        scaled.load_state_dict({"growth_factor": 2.0})
