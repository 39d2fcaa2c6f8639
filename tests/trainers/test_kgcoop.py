"""KgCoOp beyond the golden numbers: the knowledge-guided term and where it pulls."""

import pytest
import torch


@pytest.fixture
def batch():
    torch.manual_seed(1)
    return torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 5])


def test_term_is_the_papers_squared_distance_halved(build, batch):
    model = build("kgcoop", "TRAINER.KGCOOP.W", 3.0, "TRAINER.KGCOOP.CTX_INIT", "")
    _, losses = model(*batch)
    with torch.no_grad():
        g = model.encode_text()
        squared = (g - model.hand_features).square().sum(dim=-1).mean().item()
        cosine = torch.cosine_similarity(g, model.hand_features).mean().item()
    assert losses["kg"].item() == pytest.approx(3 * (1 - cosine), abs=1e-6)
    assert losses["kg"].item() == pytest.approx(3 * squared / 2, abs=1e-5)
    assert squared > 0.01


def test_starting_from_the_template_costs_nothing(build, batch):
    """The hand-crafted prompt is "a photo of a {}." here, which is how the context starts."""
    _, losses = build("kgcoop")(*batch)
    assert losses["kg"].item() == pytest.approx(0, abs=1e-5)
