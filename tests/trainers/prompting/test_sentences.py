"""Sentences about classes: what a file may hold, and which of them a step gets."""

import json

import pytest
import torch

from trainers.errors import UserError
from trainers.prompting.encoders import TextEncoder
from trainers.prompting.model import normalise
from trainers.prompting.prompt_text import PromptSequences, tokenize
from trainers.prompting.sentences import Sentences, encode_sentences, read_sentences

NAMES = ["cat", "polar_bear"]
KEY = "TRAINER.COPROMPT.SENTENCES"


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "sentences.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    return write


def test_classes_are_found_as_they_are_spoken(write):
    path = write({"polar bear": ["White.", "It swims."], "cat": ["It purrs."], "dog": ["Not asked for."]})
    assert read_sentences(path, NAMES, KEY) == [["It purrs."], ["White.", "It swims."]]
    assert read_sentences(write({"polar_bear": ["White."]}), NAMES[1:], KEY) == [["White."]]


def test_python_that_is_not_executed(tmp_path):
    """As MMA++'s authors have it, names in any case; what is too long is the method's to cut."""
    path = tmp_path / "texts.py"
    path.write_text(f'"""Texts."""\nraise SystemExit\nT = {{"Cat": ["It purrs."], "POLAR_bear": ["{"purr " * 76}"]}}')
    assert read_sentences(str(path), NAMES, KEY, cut=True) == [["It purrs."], ["purr " * 76]]
    for content in ("T = [1]", "T = {", "T = {1: open('x')}", "T = {**{}}", "(" * 500, "\0"):
        path.write_text(content)
        with pytest.raises(UserError, match="are no JSON"):
            read_sentences(str(path), NAMES, KEY)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "are no JSON .*: write {class name"),
        (["cat"], "are no JSON object: write {class name"),
        ({"cat": ["It purrs."]}, r'have none of class "polar_bear": add some, or leave TRAINER.COPROMPT.SENTENCES out'),
        ({}, 'have none of class "cat" and 1 more: add some'),
        ({"cat": [], "polar bear": ["White."]}, 'class "cat", are no list of sentences: write one or more'),
        ({"cat": "It purrs.", "polar bear": ["White."]}, 'class "cat", are no list of sentences'),
        ({"cat": ["It purrs."], "polar bear": [1]}, 'class "polar_bear", are no list of sentences'),
        ({"cat": ["It purrs.", " "], "polar bear": ["White."]}, 'class "cat", include " ", which has no words: leave'),
        ({"cat": ["purr " * 76], "polar bear": ["White."]}, "has 78 tokens with start and end, but CLIP reads 77: sho"),
    ],
)
def test_files_that_will_not_do(write, content, says):
    path = write(content)
    with pytest.raises(UserError, match=says) as error:
        read_sentences(path, NAMES, KEY)
    assert str(error.value).startswith(f"The sentences {path} ({KEY})")


def test_a_file_that_is_not_there(tmp_path):
    for path, reason in ((tmp_path / "none.json", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(UserError, match=rf"{path} \({KEY}\) cannot be read \({reason}\): correct the path"):
            read_sentences(str(path), NAMES, KEY)


def test_the_longest_sentence_that_fits(write):
    assert read_sentences(write({"cat": ["purr " * 75]}), ["cat"], KEY) == [["purr " * 75]]


def test_each_sentence_is_encoded_as_it_is(tiny_clip):
    """Underscores too, which in class names are spaces."""
    clip_model = tiny_clip()
    texts = [["It purrs.", "A cat is a ____."], ["White.", "It swims in cold seas.", "It_is_white."]]
    sentences = encode_sentences(clip_model, texts)
    assert sentences.counts.tolist() == [2, 3]
    encoder, flat = TextEncoder(clip_model), [text for each in texts for text in each]
    for text, feature in zip(flat, sentences.features):
        with torch.no_grad():
            alone = normalise(clip_model.encode_text(tokenize([text])))[0]
            spoken = encoder(PromptSequences(clip_model, [text], ending="{}")())
        torch.testing.assert_close(feature, alone, atol=1e-5, rtol=0)
        assert torch.allclose(feature, normalise(spoken)[0], atol=1e-4) == ("_" not in text)


def drawn(counts, n):
    """Which sentence of each class is drawn, n times: (n, n_cls)."""
    places = torch.cat([torch.arange(k) for k in counts]).float()[:, None]
    sentences = Sentences(places, torch.tensor(counts))
    torch.manual_seed(0)
    return torch.cat([sentences.draw().T for _ in range(n)]).long()


def test_classes_with_as_many_sentences_get_those_of_one_place():
    found = drawn([5, 5, 5], 400)
    assert (found == found[:, :1]).all()
    assert (found[:, 0].bincount(minlength=5) > 50).all()


def test_all_sentences_of_a_class_are_equally_likely():
    found = drawn([1, 3, 7], 4200)
    for count, column in zip((1, 3, 7), found.T):
        share = column.bincount(minlength=count) / len(column)
        assert len(share) == count and (share - 1 / count).abs().max() < 0.03
