"""MaPLe beyond the golden numbers: how prompts are coupled."""

import torch

from tests.tiny import CLASSNAMES

DEPTH = "TRAINER.MAPLE.PROMPT_DEPTH"


def test_couplings_start_as_in_the_authors_code(build, deeper_clip):
    """Those of the deeper layers as copies of one, which are then trained apart."""
    first, second, third = build("maple", DEPTH, 3, clip_model=deeper_clip()).prompt_learner.couplings
    assert torch.equal(second.weight, third.weight) and second.weight is not third.weight
    assert not torch.equal(first.weight, second.weight)


def test_depth_one_is_the_shallow_form(build):
    model = build("maple", DEPTH, 1)
    names = [name for name, _ in model.prompt_learner.named_parameters()]
    assert names == ["ctx", "couplings.0.weight", "couplings.0.bias"]
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, len(CLASSNAMES))
