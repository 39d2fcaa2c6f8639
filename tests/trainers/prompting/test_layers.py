"""Fewer kernels give what CLIP's own blocks give, and leave their weights as they are."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from trainers.backbone.clip_loader import cast_weights
from trainers.prompting import layers
from trainers.prompting.encoders import ImageEncoder
from trainers.prompting.layers import layers_of, quick_mlp
from trainers.prompting.own_weights import OwnWeights


@pytest.fixture
def clip_model(tiny_clip):
    """Whose norms are no longer those that do nothing."""
    torch.manual_seed(0)
    model = copy.deepcopy(tiny_clip())
    for norm in (m for m in model.modules() if isinstance(m, nn.LayerNorm)):
        norm.weight.data.normal_(1, 0.3)
        norm.bias.data.normal_(0, 0.3)
    return model.requires_grad_(False)


@pytest.mark.parametrize("trained, bias", [(False, True), (True, False)])
def test_quick_gelu_and_its_gradients(trained, bias):
    torch.manual_seed(0)
    start = [torch.randn(s, dtype=torch.float64) for s in ((2, 3, 8), (16, 8), (16,), (5, 16), (5,))]

    def results(function):
        x, w_1, b_1, w_2, b_2 = (t.clone() for t in start)
        learned = [t.requires_grad_() for t in ([x, w_1, w_2] if trained else [x])]
        out = function(x, w_1, b_1 if bias else None, w_2, b_2 if bias else None)
        out.sin().sum().backward()
        return [out.detach(), *(t.grad for t in learned)]

    def plain(x, w_1, b_1, w_2, b_2):
        u = F.linear(x, w_1, b_1)
        return F.linear(u * torch.sigmoid(1.702 * u), w_2, b_2)

    def ours(x, w_1, b_1, w_2, b_2):
        return quick_mlp(x, w_1, None if b_1 is None else layers.QUICK * b_1, w_2, b_2)

    torch.testing.assert_close(results(ours), results(plain))
    with torch.no_grad():
        torch.testing.assert_close(ours(*start), plain(*start))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("activation", ["quickgelu", "gelu", "learned"])
def test_the_rest_of_a_block_is_clips(clip_model, dtype, activation):
    """Also where weights learn, or the activation is another: then it is CLIP's own."""
    transformer = cast_weights(clip_model, dtype).visual.transformer
    for block in transformer.resblocks:
        block.mlp.gelu = nn.GELU() if activation == "gelu" else block.mlp.gelu
        block.mlp.requires_grad_(activation == "learned")
    before = copy.deepcopy(transformer.state_dict())
    layer, block = layers_of(transformer, None)[0], transformer.resblocks[0]
    assert (layer.b_1 is not None) == (activation == "quickgelu")
    assert len(layer.narrow) == (0 if dtype == torch.float32 else 2)
    x = torch.randn(2, 5, 64).to(dtype)
    # Norms in 16 bits have weights in 16 bits: a last bit, of numbers of about 1
    bits = {torch.float32: 4e-6, torch.bfloat16: 2**-5, torch.float16: 2**-8}[dtype]
    torch.testing.assert_close(layer.normed(x), block.ln_1(x), atol=bits, rtol=0)
    torch.testing.assert_close(layer.finish(x, x, x), plain(block, x), atol=bits, rtol=0)
    assert all(torch.equal(value, before[name]) for name, value in transformer.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_copy_with_weights_of_its_own_goes_by_them(clip_model, dtype):
    """As methods have whose norms and biases learn: also in a test, where nothing has a gradient."""
    encoder, image = ImageEncoder(cast_weights(clip_model, dtype).visual), torch.randn(2, 3, 32, 32)
    learned = OwnWeights(encoder, lambda name: "ln_" in name or name.endswith("bias")).requires_grad_(False)
    with torch.no_grad():
        before = encoder(image)
        rounded = (learned(encoder)(image) - before).abs().max()  # in 16 bits the norms' weights, see `Norm`
        assert rounded < {torch.float32: 1e-5, torch.bfloat16: 0.1}[dtype]
        for weight in learned.parameters():
            weight.add_(0.1)
        for name, weight in learned.named_parameters():
            encoder.get_parameter(name).copy_(weight)
        expected = ImageEncoder(encoder.visual)(image)
        moved = (expected - before).abs().max()
        assert (learned(encoder)(image) - expected).abs().max() < 0.1 * moved and moved > 5 * rounded


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_frozen_weights_that_change_are_seen(clip_model, dtype):
    """As those of a teacher do that is an average of what learns: by assignment of numbers, by `.data`, in a copy."""
    transformer = cast_weights(clip_model, dtype).visual.transformer
    x = torch.randn(2, 5, 64).to(dtype)
    layers_of(transformer, None)
    for changed in (transformer, copy.deepcopy(transformer)):
        block = changed.resblocks[0]
        block.mlp.c_fc.bias.add_(1)
        block.ln_1.weight.data.mul_(2)
        block.ln_2.load_state_dict({"weight": block.ln_2.weight + 1, "bias": block.ln_2.bias - 1})
        layer, atol = layers_of(changed, None)[0], 1e-4 if dtype == torch.float32 else 0.1
        torch.testing.assert_close(layer.normed(x), block.ln_1(x), atol=atol, rtol=0)
        torch.testing.assert_close(layer.finish(x, x, x), plain(block, x), atol=atol, rtol=0)


def plain(block, x):
    y = x + block.attn.out_proj(x)
    return y + block.mlp(block.ln_2(y))


@pytest.mark.parametrize("parts", ["qkv", "kv", "q"])
@pytest.mark.parametrize("updated", ["", "v", "qkv"])
def test_one_product_is_three(clip_model, parts, updated):
    """With what runs beside some of them, asked in the order that is asked for."""
    transformer, asked = clip_model.transformer, []

    def beside(i, part, x):
        asked.append(part)
        return x.cos() if part in updated else None

    layer, h = layers_of(transformer, beside)[1], torch.randn(7, 64)
    found = layer.project(h, parts, "kvq").chunk(len(parts), dim=-1)
    assert asked == [part for part in "kvq" if part in parts]
    attn = transformer.resblocks[1].attn
    for part, out in zip(parts, found):
        third = slice("qkv".index(part) * 64, ("qkv".index(part) + 1) * 64)
        expected = F.linear(h, attn.in_proj_weight[third], attn.in_proj_bias[third])
        torch.testing.assert_close(out, expected + h.cos() if part in updated else expected)
