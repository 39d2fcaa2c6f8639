"""MaPLe beyond the golden numbers: where prompts start, how they are coupled, and what cannot be built."""

import pytest
import torch

from tests.golden.formula import clip_state_dict
from tests.tiny import CLASSNAMES, GEOMETRY, written_out
from trainers.backbone.clip_loader import build_clip
from trainers.prompting.prompt_text import embed, tokenize

DEPTH = "TRAINER.MAPLE.PROMPT_DEPTH"


def test_first_words_are_learned_and_the_others_stay(build, tiny_clip):
    learner = build("maple").prompt_learner
    words = embed(tiny_clip(), tokenize(["a photo of a cat."]))[0]
    assert torch.equal(learner.ctx, words[1:3])
    with torch.no_grad():
        learner.ctx.zero_()
        sequence = written_out(learner())[CLASSNAMES.index("cat")]
    assert torch.equal(sequence[1:3], torch.zeros(2, 64))
    assert torch.equal(sequence[3:8], words[3:8])  # of, a, cat, ., EOS


def test_couplings_start_as_in_the_authors_code(build):
    """Those of the deeper layers as copies of one, which are then trained apart."""
    widths = {**GEOMETRY, "transformer_layers": 3}
    deeper = build_clip(clip_state_dict(g=widths))
    first, second, third = build("maple", DEPTH, 3, clip_model=deeper).prompt_learner.couplings
    assert torch.equal(second.weight, third.weight) and second.weight is not third.weight
    assert not torch.equal(first.weight, second.weight)


def test_depth_one_is_the_shallow_form(build):
    model = build("maple", DEPTH, 1)
    names = [name for name, _ in model.prompt_learner.named_parameters()]
    assert names == ["ctx", "couplings.0.weight", "couplings.0.bias"]
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, len(CLASSNAMES))


@pytest.mark.parametrize("depth", [0, 3])
def test_depth_that_does_not_fit(build, depth):
    """The tiny CLIP has three layers for images and two for text."""
    with pytest.raises(ValueError, match=f"MAPLE.PROMPT_DEPTH is {depth}.*choose 1 to 2"):
        build("maple", DEPTH, depth)
