"""KgCoOp beyond the golden numbers: the knowledge-guided term and where it pulls."""

import pytest
import torch

from dassl.config import get_cfg_default
from tests.tiny import CLASSNAMES
from trainers.prompting.model import encode_prompts


@pytest.fixture
def batch():
    torch.manual_seed(1)
    return torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 5])


def test_published_settings():
    node = get_cfg_default().TRAINER.KGCOOP
    assert (node.W, node.N_CTX, node.CTX_INIT) == (8.0, 4, "a photo of a")


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


def test_training_stays_nearer_to_the_template_the_larger_w(build, batch):
    near = {}
    for w in (0.0, 50.0):
        model = build("kgcoop", "TRAINER.KGCOOP.W", w)
        optimiser = torch.optim.Adam(model.prompt_learner.parameters(), lr=5e-2)
        for _ in range(10):
            optimiser.zero_grad()
            sum(model(*batch)[1].values()).backward()
            optimiser.step()
        with torch.no_grad():
            near[w] = torch.cosine_similarity(model.encode_text(), model.hand_features).mean().item()
    assert near[50.0] > near[0.0] + 0.01


def test_templates(build, tiny_clip):
    expected = encode_prompts(tiny_clip(), ["a photo of a {}, a type of texture."], CLASSNAMES)
    torch.testing.assert_close(build("kgcoop", "DATASET.NAME", "DescribableTextures").hand_features, expected)
    own = build("kgcoop", "DATASET.NAME", "DescribableTextures", "DATASET.TEMPLATE", "a {}")
    torch.testing.assert_close(own.hand_features, encode_prompts(tiny_clip(), ["a {}"], CLASSNAMES))


def test_views_for_a_figure(build):
    views = build("kgcoop").text_views()
    assert list(views) == ["hand-crafted", "KgCoOp"]
