import math

import pytest
import torch

from trainers.prompting.gradient_projection import project_conflicting


def random(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("strength", [0.0, 0.8, 1.0])
def test_closed_form_when_in_conflict(strength):
    d, g = random(0, 4, 7), random(1, 4, 7)
    g = g if (d * g).sum() < 0 else -g
    (p,) = project_conflicting([d], [g], strength)
    torch.testing.assert_close(p, d - strength * (d * g).sum() / (g * g).sum() * g)
    assert (p * g).sum().item() == pytest.approx((1 - strength) * (d * g).sum().item(), abs=1e-12)
    if strength == 1:  # Pythagoras: what is left is the nearest direction that does not conflict
        assert p.norm().item() < d.norm().item()
    assert p.shape == d.shape


@pytest.mark.parametrize("g", [[2.0, 0.0], [0.0, 5.0], [0.0, 0.0]], ids=["agrees", "orthogonal", "zero"])
def test_kept_without_conflict(g):
    d = torch.tensor([3.0, 0.0])
    assert torch.equal(project_conflicting([d], [torch.tensor(g)])[0], d)


def test_each_parameter_for_itself():
    """Of two parameters, the first in conflict: seen as one vector they would not be."""
    d = [torch.tensor([1.0, 1.0]), torch.tensor([[9.0]])]
    g = [torch.tensor([-1.0, 0.0]), torch.tensor([[1.0]])]
    first, second = project_conflicting(d, g)
    torch.testing.assert_close(first, torch.tensor([0.0, 1.0]))
    assert torch.equal(second, d[1])


def test_only_the_direction_of_the_general_gradient_counts():
    d, g = random(2, 9), random(3, 9)
    g = (g if (d * g).sum() < 0 else -g).float()
    d = d.float()
    (p,) = project_conflicting([d], [g])
    torch.testing.assert_close(project_conflicting([d], [1e-12 * g])[0], p)
    # A loss scaler multiplies both
    torch.testing.assert_close(project_conflicting([65536 * d], [65536 * g])[0], 65536 * p)


def test_inputs_are_left_alone():
    d, g = torch.tensor([1.0, 2.0]), torch.tensor([-1.0, 0.0])
    project_conflicting([d], [g])
    assert d.tolist() == [1.0, 2.0] and g.tolist() == [-1.0, 0.0]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["gradient", "general"])
def test_overflow_is_not_hidden(value, where):
    """A loss scaler leaves out the step when it finds a value that is not finite."""
    d, g = torch.tensor([1.0, 2.0]), torch.tensor([1.0, 1.0])
    (d if where == "gradient" else g)[0] = value
    assert not torch.isfinite(project_conflicting([d], [g])[0]).all()
