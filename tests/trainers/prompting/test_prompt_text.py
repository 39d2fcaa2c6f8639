"""Prompt sequences are the embeddings of the words they stand for."""

import clip
import pytest
import torch

from trainers.prompting.prompt_text import PromptSequences, fill_template, init_ctx, tokenize

CLASSNAMES = ["cat", "polar_bear", "great_grey owl"]


@pytest.fixture(scope="module")
def clip_model(tiny_clip):
    return tiny_clip()


@pytest.mark.parametrize(
    "position, sentence",
    [("end", "a photo of a {}."), ("middle", "a photo {} of a."), ("front", "{} a photo of a.")],
)
def test_words_in_every_position(clip_model, position, sentence):
    ctx, words = init_ctx(clip_model, 16, "a_photo of a")
    assert words == "a photo of a" and ctx.shape == (4, 64)
    sequences = PromptSequences(clip_model, CLASSNAMES, words, 4, position)
    tokens = clip.tokenize(fill_template(sentence, CLASSNAMES))
    expected = clip_model.token_embedding(tokens)[:, : sequences.length]
    assert torch.equal(sequences(ctx), expected)
    assert sequences.eos.tolist() == tokens.argmax(dim=-1).tolist()


def test_random_context(clip_model):
    torch.manual_seed(0)
    ctx, words = init_ctx(clip_model, 200)
    assert words.split() == ["X"] * 200
    assert ctx.std().item() == pytest.approx(0.02, rel=0.05) and abs(ctx.mean().item()) < 1e-3


def test_class_specific_context(clip_model):
    ctx, words = init_ctx(clip_model, 4, n_cls=3)
    assert ctx.shape == (3, 4, 64) and not torch.equal(ctx[0], ctx[1])
    x = PromptSequences(clip_model, CLASSNAMES, words, 4)(ctx)
    assert torch.equal(x[:, 1:5], ctx)
    words_ctx, _ = init_ctx(clip_model, 4, "a photo of a", n_cls=3)
    assert words_ctx.shape == (3, 4, 64) and torch.equal(words_ctx[0], words_ctx[2])


def test_words_of_several_tokens_keep_the_class_name_in_place(clip_model):
    ctx, words = init_ctx(clip_model, 16, "a photomicrograph of")
    assert len(ctx) == len(clip.tokenize([words])[0].nonzero()) - 2 > 3
    sequences = PromptSequences(clip_model, CLASSNAMES, words, len(ctx))
    expected = clip_model.token_embedding(clip.tokenize(fill_template(words + " {}.", CLASSNAMES)))
    assert torch.equal(sequences(ctx), expected[:, : sequences.length])


def test_buffers_stay_out_of_checkpoints(clip_model):
    assert not PromptSequences(clip_model, CLASSNAMES, "X X", 2, "middle").state_dict()


def test_errors(clip_model):
    with pytest.raises(ValueError, match="CLASS_TOKEN_POSITION.*behind.*end, middle or front"):
        PromptSequences(clip_model, CLASSNAMES, "X", 1, "behind")
    with pytest.raises(ValueError, match="tiger tiger.*longer than CLIP's 77 tokens"):
        tokenize(["a cat", "tiger " * 80])
