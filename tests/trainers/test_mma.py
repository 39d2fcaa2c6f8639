"""MMA beyond the golden numbers: where adapters are, what they share, and what SCALE does."""

import torch

from trainers.mma import scale_gradient

SCALE = "TRAINER.MMA.SCALE"


def test_where_adapters_are(build):
    """From LAYER on in each encoder, beside whole layers alone; a layer that one encoder lacks is the other's alone."""
    learner, z = build("mma").prompt_learner, torch.randn(5, 64)
    assert (len(learner.down["text"]), len(learner.down["image"]), len(learner.shared)) == (1, 2, 2)
    for encoder, layers in (("text", [1]), ("image", [1, 2])):
        beside = learner.beside(encoder)
        assert beside(0, "block", z) is None and beside(1, "q", z) is None
        assert all(beside(i, "block", z).shape == z.shape for i in layers)


def test_scale_holds_back_features_and_not_gradients(build):
    """Gradients of the adapters are those of SCALE 1, at features that have hardly moved."""
    image = torch.randn(2, 3, 32, 32)
    gradients = []
    for scale in (1e-4, 1e-3):
        model = build("mma", SCALE, scale)
        model.encode_image(image).square().sum(dim=0)[0].backward()
        gradients.append(model.prompt_learner.up["image"][1].weight.grad)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0.05, atol=1e-4 * gradients[0].abs().max().item())


def test_scale_gradient():
    x = torch.randn(100, requires_grad=True)
    y = scale_gradient(x, 1000.0)
    assert torch.equal(y, x)
    y.sum().backward()
    assert torch.equal(x.grad, torch.full((100,), 1000.0))
