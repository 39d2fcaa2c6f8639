"""Prompt sequences are the embeddings of the words they stand for."""

import clip
import pytest
import torch
from clip.clip import _tokenizer

from tests.tiny import written_out
from trainers.errors import UserError
from trainers.prompting.prompt_text import PromptSequences, fill_template, init_ctx, tokenize_classes, word_of

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
    expected, ends = clip_model.token_embedding(tokens), tokens.argmax(dim=-1)
    assert sequences.eos.tolist() == ends[sequences.rows].tolist()
    for x, whole, eos in zip(written_out(sequences(ctx)), expected, ends):
        assert len(x) > eos and torch.equal(x, whole[: len(x)])


def test_random_context(clip_model):
    torch.manual_seed(0)
    ctx, words = init_ctx(clip_model, 74)
    assert words.split() == ["X"] * 74
    assert ctx.std().item() == pytest.approx(0.02, rel=0.05) and abs(ctx.mean().item()) < 1e-3


def test_class_specific_context(clip_model):
    ctx, words = init_ctx(clip_model, 4, n_cls=3)
    assert ctx.shape == (3, 4, 64) and not torch.equal(ctx[0], ctx[1])
    x = PromptSequences(clip_model, CLASSNAMES, words, 4, csc=True)(ctx)
    assert all(torch.equal(sequence[1:5], own) for sequence, own in zip(written_out(x), ctx))
    words_ctx, _ = init_ctx(clip_model, 4, "a photo of a", n_cls=3)
    assert words_ctx.shape == (3, 4, 64) and torch.equal(words_ctx[0], words_ctx[2])


def test_words_of_several_tokens_keep_the_class_name_in_place(clip_model):
    ctx, words = init_ctx(clip_model, 16, "a photomicrograph of")
    assert len(ctx) == len(clip.tokenize([words])[0].nonzero()) - 2 > 3
    sequences = PromptSequences(clip_model, CLASSNAMES, words, len(ctx))
    expected = clip_model.token_embedding(clip.tokenize(fill_template(words + " {}.", CLASSNAMES)))
    for x, whole in zip(written_out(sequences(ctx)), expected):
        assert torch.equal(x, whole[: len(x)])


def test_errors(clip_model):
    with pytest.raises(ValueError, match="CLASS_TOKEN_POSITION.*behind.*end, middle or front"):
        PromptSequences(clip_model, CLASSNAMES, "X", 1, "behind")


@pytest.mark.parametrize("name", ["{}", "{", "a {b} c", "{0}", "100%", "\\1"])
def test_class_names_are_taken_literally(name):
    assert fill_template("a photo of a {}.", [name]) == [f"a photo of a {name}."]
    assert fill_template("a {x} photo of {}.", [name]) == [f"a {{x}} photo of {name}."]
    assert torch.equal(tokenize_classes([name], "{}.", "X {y}"), clip.tokenize([f"X {{y}} {name}."]))


@pytest.mark.parametrize("name", ["", "  ", "_"])
def test_a_class_without_a_name(name):
    with pytest.raises(UserError, match=f'^Class 1 of the data set has the name "{name}", which has no words: give it'):
        tokenize_classes(["cat", name], "a photo of a {}.")


@pytest.mark.parametrize("name", ["\U0001f431", "\u732b", "?", "7", "n\u0303"])
def test_a_class_of_one_sign(clip_model, name):
    """In every position: CLIP's tokenizer has tokens for all of them."""
    for position in ("end", "middle", "front"):
        sequences = PromptSequences(clip_model, ["cat", name], "X X", 2, position)
        assert torch.isfinite(sequences(torch.zeros(2, 64)).x).all()


@pytest.mark.parametrize(
    "prefix, name, template, sentence",
    [
        ("", "tiger " * 76, "a {}.", "has 80 tokens, but CLIP reads 77: 76 of the class name, 2 of the template"),
        (
            "X " * 73,
            "cat",
            "{} it.",
            "73 of the context, 1 of the class name, .*; lower A.N_CTX, or shorten A.CTX_INIT",
        ),
        ("X", "tiger " * 74, "{}.", "1 of the context, 74 of the class name.*; shorten the class name by 1"),
        ("X", "cat", "{}" + " it" * 80, "1 of the class name, 80 of the template .*; shorten the template by 7"),
    ],
)
def test_which_part_of_a_prompt_is_too_long(prefix, name, template, sentence):
    with pytest.raises(UserError, match=f'^The prompt of class "{name}" .*{sentence}'):
        tokenize_classes([name], template, prefix, "A.N_CTX")


@pytest.mark.parametrize(
    "n_ctx, words, sentence",
    [
        (75, "", "A.N_CTX is 75, but at most 74 of CLIP's 77 tokens can be context: bring it down to 74 or fewer"),
        (0, "", "A.N_CTX is 0: choose 1 to 74"),
        (10**15, "", "A.N_CTX is 1000000000000000, but at most 74"),
        (4, "word " * 75, 'The number of tokens of A.CTX_INIT "word .*" is 75, but at most 74'),
        (4, "  _", 'A.CTX_INIT "  _" has no words: write some, or "" to start at random'),
        (4, "a photo of a {}", 'A.CTX_INIT "a photo of a {}" has braces: write the words alone'),
        (4, "a {0", "has braces"),
        (4, "a } b", "has braces"),
    ],
)
def test_contexts_that_cannot_be(clip_model, n_ctx, words, sentence):
    with pytest.raises(UserError, match=sentence):
        init_ctx(clip_model, n_ctx, words, key="A.N_CTX")


def test_a_number_of_tokens_that_does_not_count(clip_model, capsys):
    init_ctx(clip_model, 4, "a photo of a", key="A.N_CTX")
    assert not capsys.readouterr().out
    init_ctx(clip_model, 16, "a photo of a", key="A.N_CTX")
    assert capsys.readouterr().out == 'Note: A.CTX_INIT "a photo of a" has 4 tokens, so A.N_CTX 16 does not count\n'


def test_words_of_tokens():
    words = [word_of(i) for i in clip.tokenize("photo, 2")[0, :5].tolist()]
    assert words == ["<|startoftext|>", "photo", ",", "2", "<|endoftext|>"]
    *parts, last = map(word_of, _tokenizer.encode("xylophonistically"))
    assert parts and all(part.endswith("-") for part in parts)
    assert "".join(part[:-1] for part in parts) + last == "xylophonistically"
    assert word_of(_tokenizer.encoder["ð"]) == "\\xf0-"
    assert "".join(word_of(i) for i in _tokenizer.encode("é")) == "é"
