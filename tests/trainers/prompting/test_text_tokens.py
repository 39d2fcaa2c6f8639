"""Sharing a beginning, going in groups and in passes changes no feature and no gradient."""

import copy

import pytest
import torch
from clip.model import CLIP
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainers.prompting.test_encoders import WORDS
from trainers.prompting import prompt_text
from trainers.prompting.deep_prompts import insert_text, replace_text
from trainers.prompting.encoders import TextEncoder
from trainers.prompting.prompt_text import PromptSequences, group, init_ctx, tokenize_classes

NAMES = [*WORDS, "an owl", "an olive tree", "an"]  # some begin alike


@pytest.fixture(scope="module")
def clip_model():
    """Random, with four layers of text."""
    torch.manual_seed(0)
    return CLIP(32, 32, 1, 64, 8, 77, 49408, 64, 2, 4)


def as_clip_does(clip_model, x, eos, hook=None):
    """A stock CLIP on whole sequences x (n, 77, width); hook(i, x) -> x before each layer."""
    x = x + clip_model.positional_embedding
    for i, block in enumerate(clip_model.transformer.resblocks):
        x = block((x if hook is None else hook(i, x)).transpose(0, 1)).transpose(0, 1)
    return clip_model.ln_final(x[torch.arange(len(x)), eos]) @ clip_model.text_projection


def whole(clip_model, names, words, ctx, ending="{}."):
    """The same prompts written out: embedded sequences (n, 77, width) and where they end."""
    tokens = tokenize_classes(names, ending, words)
    x = clip_model.token_embedding(tokens)
    n = ctx.shape[-2]
    return torch.cat([x[:, :1], ctx.expand(len(x), -1, -1), x[:, 1 + n :]], dim=1), tokens.argmax(dim=-1)


def results(features, *learned):
    """Features, and gradients of a sum that weighs all differently."""
    weights = torch.randn(features.shape, generator=torch.Generator().manual_seed(0))
    return features.detach(), *torch.autograd.grad((features * weights).sum(), learned)


def assert_same(actual, expected):
    for a, b in zip(actual, expected):
        assert (a - b).norm() <= 2e-5 * b.norm() + 1e-6


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=6),
    st.integers(1, 8),
    st.sampled_from(["{}.", "of a {}, it is", "{}"]),
    st.booleans(),
    st.integers(0, 4),
    st.sampled_from([0, 16, 10**6]),
    st.data(),
)
def test_any_prompts_by_any_road(clip_model, names, n_ctx, ending, csc, chunk, cost, data):
    """Against a stock CLIP: own contexts or one, deep prompts shared or of each class, any passes and groups."""
    torch.manual_seed(0)
    ctx, words = init_ctx(clip_model, n_ctx, n_cls=len(names) if csc else None)
    ctx.requires_grad_()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(prompt_text.GROUP_COST, "cpu", cost)
        sequences = PromptSequences(clip_model, names, words, n_ctx, csc=csc, ending=ending)
    shapes = [(n_ctx, 64), (len(names), n_ctx, 64)]
    n_deep = data.draw(st.integers(0, 3))
    deep = [torch.randn(data.draw(st.sampled_from(shapes)), requires_grad=True) for _ in range(n_deep)]

    def hook(i, x):
        if not 1 <= i <= len(deep):
            return x
        return torch.cat([x[:, :1], deep[i - 1].expand(len(x), -1, -1), x[:, 1 + n_ctx :]], dim=1)

    encoder = TextEncoder(clip_model, chunk)
    features = encoder(sequences(ctx), replace_text(deep) if deep else None)
    x, eos = whole(clip_model, names, words, ctx, ending)
    assert_same(results(features, ctx, *deep), results(as_clip_does(clip_model, x, eos, hook), ctx, *deep))


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4), st.integers(1, 3), st.integers(0, 5))
def test_a_context_for_each_image(clip_model, names, n_img, chunk):
    torch.manual_seed(0)
    ctx = torch.randn(n_img, 4, 64, requires_grad=True)
    sequences = PromptSequences(clip_model, names, "X X X X", 4)
    features = TextEncoder(clip_model, chunk)(sequences.of_images(ctx))
    expected = torch.cat([as_clip_does(clip_model, *whole(clip_model, names, "X X X X", one)) for one in ctx])
    assert_same(results(features, ctx), results(expected, ctx))


def test_what_is_shared(clip_model):
    """Start and context, and the words behind it that all classes have; the end is each class's own."""

    def shared(names, **options):
        return PromptSequences(clip_model, names, "X X", 2, **options).n_shared

    assert shared(["cat", "dog"]) == 3
    assert shared(["cat", "dog"], ending="of a {}.") == 5
    assert shared(["an owl", "an olive tree"]) == 4
    assert shared(["cat"]) == 5  # . and its end are left
    assert shared(["cat", "dog"], csc=True) == 1
    assert shared(["cat", "dog"], position="front") == 1
    assert shared(["x", "x x", "dog"], position="middle") == 2  # a class named as the context's place


def test_read_and_replace(clip_model):
    names, ctx = ["cat", "an owl here", "dog", "x y"], torch.randn(2, 64)
    tokens = PromptSequences(clip_model, names, "X X", 2, min_length=9)(ctx)
    x = whole(clip_model, names, "X X", ctx)[0][tokens.rows]
    for start, stop in ((0, 2), (1, 3), (2, 6), (3, 9), (5, 7)):
        assert torch.equal(tokens.read(start, stop), x[:, start:stop])
        if start == 0:
            continue  # the start of text is not a prompt's
        for new in (torch.randn(stop - start, 64), torch.randn(4, stop - start, 64)):
            y = tokens.replace(start, new)
            expected = torch.cat([x[:, :start], new.expand(4, -1, -1), x[:, stop:]], dim=1)
            assert torch.equal(y.read(0, 9), expected[:, :9])
            assert torch.equal(y.replace(start, x[:, start:stop]).read(0, 9), x[:, :9])


def test_insert_and_apart(clip_model):
    names, ctx, new = ["cat", "an owl here", "dog", "x y"], torch.randn(2, 64), torch.randn(3, 64)
    tokens = PromptSequences(clip_model, names, "X X", 2)(ctx)
    x, eos = whole(clip_model, names, "X X", ctx)
    for start in (1, 2, tokens.n_shared):
        y = tokens.insert(start, new)
        expected = torch.cat([x[:, :start], new.expand(4, -1, -1), x[:, start:]], dim=1)[tokens.rows]
        assert torch.equal(y.read(0, 8), expected[:, :8]) and len(y.x) == len(tokens.x) + 3
        assert torch.equal(y.eos, eos[tokens.rows] + 3)
        assert torch.equal(y.x[y.ends()], expected[torch.arange(4), y.eos])
    y = tokens.apart()
    assert len(y.x) == sum(n * length for n, length in zip(*tokens.groups))
    assert torch.equal(y.read(0, 5), tokens.read(0, 5)) and torch.equal(y.x[y.ends()], tokens.x[tokens.ends()])


def test_inserted_tokens_by_any_road(clip_model):
    """Against a stock CLIP whose mask is as long as the sequences have become."""
    names, ctx = NAMES[:4], torch.randn(2, 64)
    new = [torch.randn(3, 64, requires_grad=True) for _ in range(2)]  # before layers 2 and 3

    def hook(i, x):
        mask = torch.full((80, 80), float("-inf")).triu(1) if i >= 2 else clip_model.build_attention_mask()
        longer.transformer.resblocks[i].attn_mask = mask
        return x if i < 2 else torch.cat([x[:, :1], new[i - 2].expand(4, -1, -1), x[:, 1 if i == 2 else 4 :]], dim=1)

    longer = copy.deepcopy(clip_model)
    x, eos = whole(clip_model, names, "X X", ctx)
    expected = results(as_clip_does(longer, x, eos + 3, hook), *new)
    for chunk in (0, 3):
        sequences = PromptSequences(clip_model, names, "X X", 2)
        assert_same(results(TextEncoder(clip_model, chunk)(sequences(ctx), insert_text(new, 2)), *new), expected)


def test_nothing_is_padded_and_nothing_twice(clip_model):
    """Only each class's own tokens, and the beginning once."""
    names = ["cat", "dog", "an owl", "polar bear"] * 20
    tokens = PromptSequences(clip_model, names, "X X X X", 4)(torch.zeros(4, 64))
    assert len(tokens.x) == 5 + 40 * 3 + 40 * 4 and len(tokens.groups.counts) == 2


@given(st.lists(st.integers(2, 77), min_size=1, max_size=40), st.integers(0, 100))
def test_groups(lengths, cost):
    order, groups = group(torch.tensor(lengths), cost)
    assert sorted(order.tolist()) == list(range(len(lengths))) and sum(groups.counts) == len(lengths)
    assert list(groups.lengths) == sorted(set(groups.lengths))
    room = [m for n, m in zip(*groups) for _ in range(n)]
    assert all(lengths[i] <= m for i, m in zip(order.tolist(), room))

    def total(counts, lengths):
        return sum(n * m for n, m in zip(counts, lengths)) + cost * len(counts)

    each = sorted(set(lengths))
    assert total(*groups) <= total([len(lengths)], [max(lengths)])
    assert total(*groups) <= total([lengths.count(m) for m in each], each)
