"""Weights of an encoder that learn, while it stays as it is."""

import torch

from trainers.prompting.own_weights import OwnWeights, with_weights


def test_the_frozen_encoder_stays_what_it_is(tiny_clip):
    """A copy with other weights shares all else, and is of no concern to the encoder or to its state."""
    visual = tiny_clip().visual.requires_grad_(False)
    own = OwnWeights(visual, lambda name: name == "ln_post.bias")
    torch.nn.init.ones_(own.ln_post.bias)
    image, before = torch.randn(2, 3, 32, 32), {k: v.clone() for k, v in visual.state_dict().items()}
    changed = own(visual)
    assert changed.state_dict()["ln_post.bias"].eq(1).all() and changed.transformer is visual.transformer
    torch.testing.assert_close(changed(image) - visual(image), (1 - visual.ln_post.bias).expand(2, -1) @ visual.proj)
    changed(image).sum().backward()
    assert own.ln_post.bias.grad.abs().sum() > 0 and all(p.grad is None for p in visual.parameters())
    assert all(torch.equal(v, before[k]) for k, v in visual.state_dict().items())
    half = with_weights(tiny_clip().visual.half(), {"ln_post.bias": own.ln_post.bias})
    assert half.ln_post.bias.dtype == torch.float16
