"""Deep prompts take the place of the tokens before them, in their layers and nowhere else."""

import pytest
import torch

from tests.tiny import as_tokens
from trainers.errors import UserError
from trainers.prompting.deep_prompts import (
    check_depth,
    first_prompts,
    insert_image,
    insert_text,
    random_prompts,
    replace_image,
    replace_text,
)
from trainers.prompting.encoders import ImageEncoder, TextEncoder
from trainers.prompting.prompt_text import PromptSequences, embed, tokenize


@pytest.fixture
def x():
    """Three sequences that begin with the same three tokens."""
    torch.manual_seed(0)
    x = torch.randn(3, 9, 64)
    return torch.cat([x[:1, :3].expand(3, -1, -1), x[:, 3:]], dim=1)


def text_hook(*args, **options):
    """`replace_text` for sequences that are written out as `x` is."""

    def hook(layer, x):
        return replace_text(*args, **options)(layer, as_tokens(x, 3)).read(0, x.shape[1])

    return hook


@pytest.fixture
def prompts():
    torch.manual_seed(1)
    return random_prompts(2, 2, 64)


def test_first_prompts(tiny_clip):
    ctx, words = first_prompts("KEY", tiny_clip(), 2, "a photo of a")
    assert words == "a photo of a"
    assert torch.equal(ctx, embed(tiny_clip(), tokenize([words]))[0, 1:3])
    ctx, words = first_prompts("KEY", tiny_clip(), 6, "")
    assert ctx.shape == (6, 64) and words == "X X X X X X"
    for n_ctx in (0, 5):
        with pytest.raises(ValueError, match=f'KEY is {n_ctx}, but CTX_INIT "a photo of a" has 4 .*choose 1 to 4'):
            first_prompts("KEY", tiny_clip(), n_ctx, "a photo of a")


@pytest.mark.parametrize(("replace", "where"), [(text_hook, slice(1, 3)), (replace_image, slice(7, 9))])
def test_places_and_layers(replace, where, x, prompts):
    hook = replace(prompts)
    kept = torch.ones(9, dtype=torch.bool)
    kept[where] = False
    for layer in (1, 2):
        y = hook(layer, x)
        assert y.shape == x.shape and torch.equal(y[:, kept], x[:, kept])
        assert torch.equal(y[:, where], prompts[layer - 1].expand(3, -1, -1))
    for layer in (0, 3, 11):  # the first layer's enter with the input; later ones pass on what they get
        assert torch.equal(hook(layer, x), x)


@pytest.mark.parametrize("replace", [text_hook, replace_image])
def test_prompts_may_differ_between_sequences(replace, x):
    own = torch.randn(3, 2, 64)
    y = replace([own])(1, x)
    assert torch.equal(y[:, 1:3] if replace is text_hook else y[:, 7:], own)


def test_prompts_may_enter_later(x, prompts):
    hook = text_hook(prompts, first=5)
    assert [torch.equal(hook(layer, x), x) for layer in range(4, 8)] == [True, False, False, True]
    assert torch.equal(hook(6, x)[:, 1:3], prompts[1].expand(3, -1, -1))


def test_tokens_are_inserted_and_then_replaced(x, prompts):
    for hook in (
        lambda i, x: insert_text(prompts, 5)(i, as_tokens(x, 3)).read(0, x.shape[1] + 2 * (i == 5)),
        insert_image(prompts, 5),
    ):
        y = hook(5, x)
        assert torch.equal(y, torch.cat([x[:, :1], prompts[0].expand(3, -1, -1), x[:, 1:]], dim=1))
        assert torch.equal(hook(6, x), torch.cat([x[:, :1], prompts[1].expand(3, -1, -1), x[:, 3:]], dim=1))
        assert torch.equal(hook(4, x), x) and torch.equal(hook(7, x), x)


def test_in_the_encoders(tiny_clip, prompts):
    clip_model = tiny_clip()
    text, image = TextEncoder(clip_model), ImageEncoder(clip_model.visual)
    tokens, pictures = PromptSequences(clip_model, ["cat", "dog"], "X X", 2)(prompts[0]), torch.randn(3, 3, 32, 32)
    seen = []

    def spy(hook):
        def before_layer(i, x):
            x = hook(i, x)
            seen.append(x)
            return x

        return before_layer

    first = torch.randn(2, 64)
    loss = text(tokens, spy(replace_text(prompts))).sum() + image(pictures, first, spy(replace_image(prompts))).sum()
    assert torch.equal(seen[1].read(1, 3), prompts[0].expand(2, -1, -1))  # text layer 1 of 2
    assert torch.equal(seen[4][:, -2:], prompts[1].expand(3, -1, -1))  # image layer 2 of 3
    loss.backward()
    assert all(p.grad.abs().sum() > 0 for p in prompts)


def test_check_depth():
    check_depth("KEY", 1, 12)
    check_depth("KEY", 12, 12)
    for depth in (0, 13):
        with pytest.raises(ValueError, match=f"KEY is {depth}.*12 layers: choose 1 to 12"):
            check_depth("KEY", depth, 12)
    with pytest.raises(UserError, match="KEY is 2, .* room for prompts in 1 layer: choose 1[.]"):
        check_depth("KEY", 2, 1)
    with pytest.raises(UserError, match="KEY is 1, but this backbone has no layer for such prompts: choose a deeper"):
        check_depth("KEY", 1, 0)
