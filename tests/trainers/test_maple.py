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


def test_random_start(build):
    learner = build("maple", "TRAINER.MAPLE.CTX_INIT", "", "TRAINER.MAPLE.N_CTX", 6).prompt_learner
    assert learner.ctx.shape == (6, 64) and learner.ctx.std() < 0.03
    assert learner.sequences.tokenized_prompts[0, 1:7].unique().numel() == 1  # X X X X X X


def test_each_prompt_steers_both_encoders(build):
    model = build("maple")
    image = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        f, g = model.encode_image(image), model.encode_text()
        for prompts in (model.prompt_learner.ctx, model.prompt_learner.deep_ctx[0]):
            before = prompts.clone()
            prompts.add_(torch.randn_like(prompts))
            assert not torch.allclose(model.encode_image(image), f, atol=1e-4)
            assert not torch.allclose(model.encode_text(), g, atol=1e-4)
            prompts.copy_(before)


def test_couplings_start_as_in_the_authors_code(build):
    """Those of the deeper layers as copies of one, which are then trained apart."""
    widths = {**GEOMETRY, "transformer_layers": 3}
    deeper = build_clip(clip_state_dict(g=widths))
    first, second, third = build("maple", DEPTH, 3, clip_model=deeper).prompt_learner.couplings
    assert torch.equal(second.weight, third.weight) and second.weight is not third.weight
    assert not torch.equal(first.weight, second.weight)


def test_widths_are_read_from_the_model(build):
    narrow = build_clip(clip_state_dict(g={**GEOMETRY, "vision_width": 128}))
    learner = build("maple", clip_model=narrow).prompt_learner
    assert [p.shape for p in learner.visual()] == [(2, 128)] * 2
    assert learner.ctx.shape == learner.deep_ctx[0].shape == (2, 64)


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
