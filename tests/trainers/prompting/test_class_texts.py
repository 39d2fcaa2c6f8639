"""Several texts a class: one drawn of each, and all of them."""

import pytest
import torch

from trainers.prompting import class_texts
from trainers.prompting.class_texts import ClassTexts
from trainers.prompting.encoders import TextEncoder
from trainers.prompting.prompt_text import PromptSequences, tokenize_cut

TEXTS = [[f"A {name} is here.", f"{name}, seen from afar.", "So far."][: 1 + i % 3] for i, name in enumerate("abcdef")]


@pytest.mark.parametrize("part", [2, 1024])
def test_what_is_drawn_and_what_is_all(tiny_clip, monkeypatch, part):
    """Each text of a class about as often, of every class independently; features as of the texts by themselves."""
    monkeypatch.setattr(class_texts, "PART", part)
    clip_model, texts = tiny_clip(), TEXTS
    encoder, drawn = TextEncoder(clip_model), ClassTexts(clip_model, [tokenize_cut(each) for each in texts])
    with torch.no_grad():
        expected = [encoder(PromptSequences(clip_model, tokens=tokenize_cut(each))()) for each in texts]
        found = drawn.of_classes(torch.cat([encoder(tokens) for tokens in drawn.all()]))
        for a, b in zip(found, expected):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
        seen = set()
        for _ in range(60):
            distance = [(a - b).abs().amax(dim=1) for a, b in zip(encoder(drawn.draw()), expected)]
            assert max(d.min() for d in distance) < 1e-5
            seen |= {(i, d.argmin().item()) for i, d in enumerate(distance)}
            seen.add(tuple(d.argmin().item() for d in distance))
    assert {pair for pair in seen if len(pair) == 2} == {
        (i, j) for i, each in enumerate(texts) for j in range(len(each))
    }
    assert len({every for every in seen if len(every) > 2}) > 12
