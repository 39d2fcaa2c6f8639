"""Late layers go on where the frozen ones end, and learn in float32 whatever they compute in."""

import pytest
import torch

from trainers.backbone.clip_loader import cast_weights
from trainers.prompting.encoders import ImageEncoder, TextEncoder
from trainers.prompting.late_layers import InTypes, LateImage, LateText, round_to_half
from trainers.prompting.prompt_text import PromptSequences

WORDS = ["cat", "polar bear", "an extraordinarily long class name, with commas", "x"]


@pytest.mark.parametrize("first", [0, 1])
def test_together_they_are_the_encoder(tiny_clip, first):
    clip_model, image = tiny_clip(), torch.randn(3, 3, 32, 32)
    tokens = PromptSequences(clip_model, WORDS, ending="a photo of a {}.")()
    for encoder, late, x in ((TextEncoder, LateText, tokens), (ImageEncoder, LateImage, image)):
        whole = encoder(clip_model if late is LateText else clip_model.visual)
        late = late(whole, first)
        torch.testing.assert_close(late(whole.first_layers(x, first)), whole(x))
        names = [name for name, _ in late.named_parameters()]
        layers = {name.partition("resblocks.")[2].partition(".")[0] for name in names if "resblocks" in name}
        assert layers == {str(i) for i in range(first, whole.n_layers)} and len(names) == 12 * len(layers) + 3


def test_some_of_the_texts(tiny_clip):
    sequences = PromptSequences(tiny_clip(), WORDS, ending="a photo of a {}.", min_length=30)
    encoder, chosen = TextEncoder(tiny_clip()), torch.tensor([2, 0])
    torch.testing.assert_close(encoder(sequences().take(chosen)), encoder(sequences())[chosen])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_types(tiny_clip, dtype):
    """Steps that are too small for halves add up, and the next pass computes with them."""
    encoder = ImageEncoder(cast_weights(tiny_clip(), dtype).visual)
    late, x = LateImage(encoder, 1), encoder.first_layers(torch.randn(2, 3, 32, 32), 1)
    compute = InTypes(late)
    before = compute(x)  # (2, dim)
    assert before.dtype == dtype and late.visual.proj.dtype == torch.float32
    before.float().sum().backward()
    assert all(p.grad.dtype == torch.float32 and p.grad.abs().sum() > 0 for p in late.parameters())
    with torch.no_grad():
        for _ in range(100):
            late.visual.proj.mul_(1 + 1e-4)
        after = compute(x)
    assert (after.float().norm() / before.float().norm()).item() == pytest.approx(1.01, abs=0.003)


def test_rounding(tiny_clip):
    late = LateImage(ImageEncoder(tiny_clip().visual), 1)
    before = {name: parameter.clone() for name, parameter in late.named_parameters()}
    round_to_half(late)
    for name, parameter in late.named_parameters():
        expected = before[name] if ".ln_" in name else before[name].half().float()
        assert torch.equal(parameter, expected) and (torch.equal(parameter, before[name]) == (".ln_" in name))
