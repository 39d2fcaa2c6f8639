"""Updates beside the layers are updates of the weights, whatever the walk shares, leaves out or does twice."""

import copy

import pytest
import torch

from tests.trainers.prompting.test_encoders import kept
from tests.trainers.prompting.test_text_tokens import NAMES, assert_same, results
from trainers.prompting import encoders
from trainers.prompting.encoders import ImageEncoder, TextEncoder
from trainers.prompting.low_rank import LowRank, LowRankUpdates
from trainers.prompting.prompt_text import PromptSequences

PARTS = ["q", "k", "v", "o"]


def filled(updates):
    torch.manual_seed(0)
    for parameter in updates.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return updates


def updated(transformer, updates):
    """A copy of a transformer whose weights are W + scale B A."""
    transformer = copy.deepcopy(transformer)
    for i, layer in updates.items():
        attn = transformer.resblocks[int(i)].attn
        for part, update in layer.items():
            weight = attn.out_proj.weight if part == "o" else attn.in_proj_weight.chunk(3)["qkv".index(part)]
            with torch.no_grad():
                weight.add_(update.scale * update.b @ update.a)
    return transformer


def test_it_starts_as_nothing_and_counts_scale_times():
    update = LowRank(8, 6, 2, scale=0.5)
    x = torch.randn(3, 8)
    assert torch.equal(update(x), torch.zeros(3, 6)) and update.a.abs().sum() > 0
    filled(update)
    torch.testing.assert_close(update(x), 0.5 * x @ update.a.t() @ update.b.t())


def test_dropout_is_for_training():
    update = filled(LowRank(64, 6, 2, 1.0, dropout=0.25))
    x = torch.ones(2000, 64)
    whole = x @ update.a.t() @ update.b.t()
    assert not torch.allclose(update(x), whole, atol=1e-3)
    torch.testing.assert_close(update(x).mean(dim=0), whole[0], atol=0.05, rtol=0)  # what is left counts for the rest
    torch.testing.assert_close(update.eval()(x), whole)


@pytest.mark.parametrize("layers", [[0, 1], [1]])  # the last layer computes only what is read
@pytest.mark.parametrize("chunk", [0, 2])
def test_text(tiny_clip, layers, chunk):
    clip_model = tiny_clip()
    updates = filled(LowRankUpdates(layers, PARTS, 64, 2, 0.7))
    tokens = PromptSequences(clip_model, NAMES, ending="a photo of a {}.")()
    learned = list(updates.parameters())
    expected = TextEncoder(clip_model)(tokens).detach()
    features = TextEncoder(clip_model, chunk)(tokens, None, updates)
    assert not torch.allclose(features, expected, atol=1e-2)
    apart = TextEncoder(clip_model, chunk)(tokens, lambda i, x: x.apart() if i == 0 else x, updates)
    assert_same(results(apart, *learned), results(features, *learned))
    clip_model.transformer = updated(clip_model.transformer, updates)
    torch.testing.assert_close(features, TextEncoder(clip_model)(tokens), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("layers", [[0, 1, 2], [2]])
def test_image(tiny_clip, layers):
    visual, image = tiny_clip().visual, torch.randn(3, 3, 32, 32)
    updates = filled(LowRankUpdates(layers, PARTS, 64, 2, 0.7))
    plain, features = ImageEncoder(visual)(image), ImageEncoder(visual)(image, beside=updates)
    assert not torch.allclose(features, plain, atol=1e-2)
    visual.transformer = updated(visual.transformer, updates)
    torch.testing.assert_close(features, ImageEncoder(visual)(image), atol=1e-4, rtol=1e-4)


def test_a_block_gets_what_runs_beside_it(tiny_clip):
    """Its input is ln_1's output, of the last layer at the tokens that are read."""
    visual, image, seen = tiny_clip().visual, torch.randn(2, 3, 32, 32), []

    def beside(i, part, x):
        seen.append((i, part, tuple(x.shape)))
        return torch.full_like(x, 3.0) if (i, part) == (2, "block") else None

    features = ImageEncoder(visual).outputs(image, beside=beside)
    whole, read = (2, 17, 64), (2, 1, 64)
    each = [(i, part, whole) for i in (0, 1) for part in ("k", "v", "q", "o", "block")]
    assert seen == [*each, (2, "k", whole), (2, "v", whole), (2, "q", read), (2, "o", read), (2, "block", read)]
    visual.transformer.resblocks[2].mlp.c_proj.bias.data += 3
    torch.testing.assert_close(features, ImageEncoder(visual).outputs(image))


def test_dropout_differs_between_classes_that_share_tokens(tiny_clip):
    clip_model, seen = tiny_clip(), {}
    updates = filled(LowRankUpdates([0], ["v"], 64, 2, 1.0, dropout=0.5))

    def hook(i, x):
        seen[i] = (x.apart() if i == 0 else x).read(0, 4)
        return x.apart() if i == 0 else x

    TextEncoder(clip_model)(PromptSequences(clip_model, ["cat", "dog"], ending="a photo of a {}.")(), hook, updates)
    assert torch.equal(*seen[0]) and ((seen[1][0] - seen[1][1]).abs().amax(dim=1) > 1e-3).all()


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_passes_are_made_by_memory(tiny_clip, monkeypatch, dropout):
    """By an estimate that is not below what is kept of updates, nor three times as much."""
    encoder = TextEncoder(tiny_clip())
    updates = LowRankUpdates([0, 1], ["q", "k", "v"], 64, 2, 1.0, dropout)
    tokens = PromptSequences(tiny_clip(), [f"class {i}" for i in range(64)], ending="a photo of a {}.")()
    hooks = (lambda i, x: x.apart() if i == 0 else x), updates
    size = kept(encoder, tokens, *hooks)
    for n in (1, 5, 40):
        monkeypatch.setattr(encoders, "memory_limit", lambda device, n=n: size * n // 64)
        assert n / 3 < encoder._chunk(tokens, *hooks) <= max(1, n)


def test_passes_that_are_run_again_drop_the_same(tiny_clip, monkeypatch):
    clip_model = tiny_clip()
    updates = filled(LowRankUpdates([0, 1], ["q", "k", "v"], 64, 2, 1.0, dropout=0.5))
    tokens = PromptSequences(clip_model, NAMES, ending="a photo of a {}.")()
    gradients = []
    for recomputes in (True, False):
        monkeypatch.setattr(encoders, "RECOMPUTES", recomputes)
        torch.manual_seed(0)
        features = TextEncoder(clip_model, 2)(tokens, lambda i, x: x.apart() if i == 0 else x, updates)
        torch.manual_seed(1)  # training goes on to draw other numbers
        gradients.append(results(features, *updates.parameters()))
    assert_same(*gradients)
