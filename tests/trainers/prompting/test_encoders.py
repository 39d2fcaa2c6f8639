"""The walks compute what a stock CLIP computes, and the hooks see what they should."""

import clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tiny import GEOMETRY
from trainers.prompting.encoders import ImageEncoder, TextEncoder
from trainers.prompting.prompt_text import PromptSequences, init_ctx

WORDS = ["cat", "polar bear", "dog", "an extraordinarily long class name, with commas", "x", "owl (bird)"]


@pytest.fixture(scope="module")
def clip_model(tiny_clip):
    return tiny_clip()


def test_text_walk_is_clips(clip_model):
    tokens = clip.tokenize([f"a photo of a {word}." for word in WORDS])
    features = TextEncoder(clip_model)(clip_model.token_embedding(tokens), tokens.argmax(dim=-1))
    torch.testing.assert_close(features, clip_model.encode_text(tokens), atol=1e-5, rtol=1e-5)


def test_image_walk_is_clips(clip_model):
    image = torch.randn(3, 3, 32, 32)
    features = ImageEncoder(clip_model.visual)(image)
    torch.testing.assert_close(features, clip_model.encode_image(image), atol=1e-5, rtol=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=4), st.integers(1, 8))
def test_cutting_the_context_changes_nothing(clip_model, classnames, n_ctx):
    torch.manual_seed(0)
    encoder = TextEncoder(clip_model)
    ctx, words = init_ctx(clip_model, n_ctx)
    cut = PromptSequences(clip_model, classnames, words, n_ctx)
    full = PromptSequences(clip_model, classnames, words, n_ctx, min_length=77)
    assert cut.length == int(full.eos.max()) + 1 and full.length == 77
    features, gradients = [], []
    for sequences in (cut, full):
        own = ctx.clone().requires_grad_()
        x = encoder(sequences(own), sequences.eos)
        x.square().sum().backward()
        features.append(x.detach())
        gradients.append(own.grad)
    torch.testing.assert_close(features[0], features[1], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-4, rtol=1e-4)


def test_text_encoder_is_causal(clip_model):
    tokens = clip.tokenize(["a photo of a cat."])
    x, eos = clip_model.token_embedding(tokens), tokens.argmax(dim=-1)
    encoder = TextEncoder(clip_model)
    behind, before = x.clone(), x.clone()
    behind[:, int(eos) + 1 :] += torch.randn_like(behind[:, int(eos) + 1 :])
    before[:, int(eos) - 1] += torch.randn(GEOMETRY["transformer_width"])
    torch.testing.assert_close(encoder(behind, eos), encoder(x, eos), atol=1e-6, rtol=1e-6)
    assert not torch.allclose(encoder(before, eos), encoder(x, eos), atol=1e-3)


def test_hooks_see_every_layer_once(clip_model):
    seen = []

    def hook(layer, x):
        seen.append((layer, tuple(x.shape)))
        return x

    text, image = TextEncoder(clip_model), ImageEncoder(clip_model.visual)
    tokens = clip.tokenize(["a cat"])
    text(clip_model.token_embedding(tokens), tokens.argmax(dim=-1), hook)
    assert seen == [(i, (1, 77, 64)) for i in range(GEOMETRY["transformer_layers"])]
    seen.clear()
    image(torch.randn(2, 3, 32, 32), torch.zeros(5, 64), hook)
    assert seen == [(i, (2, 1 + 16 + 5, 64)) for i in range(GEOMETRY["vision_layers"])]


def test_appended_tokens_matter_and_get_gradients(clip_model):
    image, encoder = torch.randn(2, 3, 32, 32), ImageEncoder(clip_model.visual)
    tokens = (0.02 * torch.randn(4, 64)).requires_grad_()
    features = encoder(image, tokens)
    assert not torch.allclose(features, encoder(image), atol=1e-4)
    features.square().sum().backward()
    assert tokens.grad.abs().sum() > 0
