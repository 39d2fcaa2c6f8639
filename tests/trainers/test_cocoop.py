"""CoCoOp beyond the golden numbers: passes that change nothing, and text for each image."""

import pytest
import torch

from trainers import cocoop


@pytest.fixture
def batch():
    torch.manual_seed(1)
    return torch.randn(8, 3, 32, 32), torch.tensor([0, 1, 2, 3, 4, 5, 0, 1])  # 48 prompt sequences


def chunk(n):
    return "MODEL.TEXT_CHUNK", n


def gradients(model, batch):
    model.zero_grad()
    sum(model(*batch)[1].values()).backward()
    return {name: p.grad for name, p in model.prompt_learner.named_parameters()}


@pytest.mark.parametrize("n", [1, 7, 16, 47])
def test_chunk_changes_no_result(build, batch, n):
    whole, parts = build("cocoop", *chunk(48)), build("cocoop", *chunk(n))
    with torch.no_grad():
        torch.testing.assert_close(parts(batch[0]), whole(batch[0]), atol=1e-5, rtol=0)
    expected = gradients(whole, batch)
    for name, gradient in gradients(parts, batch).items():
        assert (gradient - expected[name]).norm() < 1e-4 * expected[name].norm(), name


def test_evaluation_goes_by_few_images(build, batch, monkeypatch):
    """So that prompts of a whole batch and of thousands of classes never lie in memory."""
    model, passes = build("cocoop"), []
    model.text_encoder.register_forward_pre_hook(lambda _, args: passes.append(len(args[0].rows)))
    with torch.no_grad():
        expected = model(batch[0])
        monkeypatch.setattr(cocoop, "SEQUENCES", 20)
        torch.testing.assert_close(model(batch[0]), expected, atol=1e-5, rtol=0)
    assert passes == [48, 18, 18, 12]
    passes.clear()
    gradients(model, batch)
    assert passes == [48]


def test_views_for_a_figure(build):
    """The prompts of v + h(0), as no image is given."""
    model = build("cocoop")
    learner = model.prompt_learner
    with torch.no_grad():
        (view,) = model.text_views().values()
        net = learner.meta_net
        x = learner.sequences(learner.ctx + net.linear2(net.linear1.bias.relu()))
        g = model.text_encoder(x)
        torch.testing.assert_close(view, g / g.norm(dim=-1, keepdim=True))
