"""The walks compute what a stock CLIP computes, and the hooks see what they should."""

import clip
import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from tests.tiny import GEOMETRY
from trainers.prompting import encoders
from trainers.prompting.encoders import ImageEncoder, TextEncoder, chosen_layers
from trainers.prompting.prompt_text import PromptSequences
from trainers.prompting.text_tokens import TextTokens

WORDS = ["cat", "polar bear", "dog", "an extraordinarily long class name, with commas", "x", "owl (bird)"]


@pytest.fixture(scope="module")
def clip_model(tiny_clip):
    return tiny_clip()


def prompts(clip_model, names=WORDS):
    return PromptSequences(clip_model, names, ending="a photo of a {}.")


def test_text_walk_is_clips(clip_model):
    tokens = clip.tokenize([f"a photo of a {word}." for word in WORDS])
    features = TextEncoder(clip_model)(prompts(clip_model)())
    torch.testing.assert_close(features, clip_model.encode_text(tokens), atol=1e-5, rtol=1e-5)


def test_image_walk_is_clips(clip_model):
    image = torch.randn(3, 3, 32, 32)
    features = ImageEncoder(clip_model.visual)(image)
    torch.testing.assert_close(features, clip_model.encode_image(image), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("first", [0, 1])
def test_walks_in_two_parts(clip_model, first):
    """And of sequences of one length, some."""
    text, image, x = TextEncoder(clip_model), ImageEncoder(clip_model.visual), torch.randn(3, 3, 32, 32)
    torch.testing.assert_close(image.last_layers(image.first_layers(x, first), first), image(x))
    tokens = PromptSequences(clip_model, WORDS, ending="a photo of a {}.", min_length=30)()
    lower, chosen = text.first_layers(tokens, first), torch.tensor([2, 0])
    torch.testing.assert_close(text(lower, first=first), text(tokens))
    torch.testing.assert_close(text(lower.take(chosen), first=first), text(tokens)[chosen])


@pytest.mark.parametrize("chunk, passes", [(6, [6]), (1000, [6]), (4, [4, 2]), (1, [1] * 6)])
def test_passes(clip_model, chunk, passes):
    """At most `chunk` sequences at once; in training several are run again."""
    encoder, seen = TextEncoder(clip_model, chunk), []
    encode = encoder._encode
    encoder._encode = lambda *args: (seen.append(len(TextTokens(*args[2:]).rows)), encode(*args))[1]
    sequences = PromptSequences(clip_model, WORDS, "X", 1)
    ctx = torch.randn(1, 64, requires_grad=True)
    with torch.no_grad():
        encoder(sequences(ctx))
    assert seen == passes
    seen.clear()
    encoder(sequences(ctx)).sum().backward()
    assert sorted(seen) == sorted(passes * (2 if len(passes) > 1 else 1))


def kept(encoder, tokens, *hooks):
    """Bytes of activations that autograd keeps of a pass."""
    modules = [part for part in (encoder, *hooks) if isinstance(part, torch.nn.Module)]
    weights = {w.untyped_storage().data_ptr() for m in modules for w in (*m.parameters(), *m.buffers())}
    storages = {}

    def pack(x):
        if x.untyped_storage().data_ptr() not in weights:  # those are there anyway
            storages[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with saved_tensors_hooks(pack, lambda x: x):
        encoder(tokens, *hooks)
    return sum(storages.values())


def test_passes_bound_what_autograd_keeps(clip_model):
    tokens = PromptSequences(clip_model, [f"class {i}" for i in range(48)], "X", 1)(
        torch.randn(1, 64, requires_grad=True)
    )
    assert kept(TextEncoder(clip_model, 6), tokens) < kept(TextEncoder(clip_model, 48), tokens) / 10


def test_what_a_hook_keeps_counts(build, monkeypatch):
    """By SEP's, whose own count is what its fusion keeps."""
    model = build("sep", classnames=[f"class {i}" for i in range(64)])
    encoder, hook = model.text_encoder, model.prompt_learner.text_enhancer
    tokens, (fusion,) = model.prompt_learner(), hook.values()
    size = kept(fusion, tokens.read(7, 13), tokens.read(1, 7))
    assert 0.8 * hook.kept(64) < size < 1.05 * hook.kept(64)
    monkeypatch.setattr(encoders, "memory_limit", lambda device: size)
    told, untold = encoder._chunk(tokens, hook), encoder._chunk(tokens, lambda i, x: hook(i, x))
    assert 64 * size / told == pytest.approx(64 * size / untold + hook.kept(64), rel=0.1)
    with torch.no_grad():
        assert encoder._chunk(tokens, hook) == encoder._chunk(tokens, lambda i, x: hook(i, x))


@pytest.mark.parametrize("n_ctx", [1, 16])
def test_passes_are_made_by_memory(clip_model, monkeypatch, n_ctx):
    """As many sequences go together as the limit holds, by an estimate that is not below what is kept."""
    sequences = PromptSequences(clip_model, [f"class {i}" for i in range(64)], "X " * n_ctx, n_ctx)
    tokens = sequences(torch.randn(n_ctx, 64, requires_grad=True))
    encoder = TextEncoder(clip_model)
    assert encoder._chunk(tokens, None) == 64
    size = kept(encoder, tokens)
    for n in (1, 5, 40):
        monkeypatch.setattr(encoders, "memory_limit", lambda device, n=n: size * n // 64)
        assert n / 3 < encoder._chunk(tokens, None) <= max(1, n)
        assert encoder._chunk(tokens, lambda i, x: x) <= encoder._chunk(tokens, None)
        with torch.no_grad():
            assert encoder._chunk(tokens, None) >= encoder._chunk(tokens, lambda i, x: x)


def test_hooks_see_every_layer_once(clip_model):
    seen = []

    def hook(layer, x):
        seen.append((layer, tuple(x.shape)))
        return x

    text, image = TextEncoder(clip_model), ImageEncoder(clip_model.visual)
    text(prompts(clip_model)(), lambda i, x: hook(i, x.x) is None or x)
    assert seen == [(i, (len(prompts(clip_model)().x), 64)) for i in range(GEOMETRY["transformer_layers"])]
    seen.clear()
    image(torch.randn(2, 3, 32, 32), torch.zeros(5, 64), hook)
    assert seen == [(i, (2, 1 + 16 + 5, 64)) for i in range(GEOMETRY["vision_layers"])]


def test_chosen_layers():
    assert chosen_layers("KEY", [], 12, 12) == list(range(12))
    assert chosen_layers("KEY", [], 12, 12, first=1) == list(range(1, 12))
    assert chosen_layers("KEY", [9, 3, 1], 6, 12) == [1, 3]  # the shallower encoder has no layer 9
    with pytest.raises(ValueError, match=r"KEY names \[12\].*layers 0 to 11"):
        chosen_layers("KEY", [1, 12], 12, 12)
