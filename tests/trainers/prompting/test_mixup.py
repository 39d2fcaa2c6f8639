import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from trainers.prompting.mixup import (
    draw_lam,
    draw_partners,
    mix_features,
    mix_targets,
    mixup,
    soft_cross_entropy,
)

labels = st.lists(st.integers(0, 5), min_size=1, max_size=40).map(torch.tensor)


def unit(n, dim=16, seed=0):
    return F.normalize(torch.randn(n, dim, generator=torch.Generator().manual_seed(seed)), dim=-1)


@given(label=labels)
def test_partner_is_of_another_class(label):
    partner = draw_partners(label)
    if len(label.unique()) == 1:
        assert partner is None
    else:
        assert partner.shape == label.shape and partner.dtype == torch.int64
        assert (label[partner] != label).all()


def test_partners_are_drawn_uniformly():
    torch.manual_seed(0)
    label = torch.tensor([0, 0, 1, 2, 2, 2])
    draws = torch.stack([draw_partners(label) for _ in range(6000)])
    share = F.one_hot(draws, 6).float().mean(0)  # (6 samples, 6 partners)
    different = (label[:, None] != label[None, :]).float()
    # A share in 6,000 draws has a standard deviation of at most 0.0063; 0.025 is four of them.
    torch.testing.assert_close(share, different / different.sum(1, keepdim=True), atol=0.025, rtol=0)


def test_draws_follow_the_global_generator():
    label = torch.arange(8) % 3

    def draw():
        torch.manual_seed(7)
        return draw_partners(label), draw_lam(8, 0.4)

    for first, second in zip(draw(), draw()):
        assert torch.equal(first, second)


@pytest.mark.parametrize("alpha", [0.2, 1, 8.0])
def test_proportions_are_beta_distributed_one_per_sample(alpha):
    torch.manual_seed(0)
    lam = draw_lam(20000, alpha)
    assert lam.mean().item() == pytest.approx(0.5, abs=0.01)
    assert lam.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.05)


@pytest.mark.parametrize("alpha", [0, -1.0, float("nan")])
def test_alpha_must_be_positive(alpha):
    with pytest.raises(ValueError, match="must be above 0"):
        draw_lam(4, alpha)


@given(label=labels, alpha=st.floats(0.05, 10))
def test_targets_sum_to_one_and_hold_both_classes(label, alpha):
    partner = draw_partners(label)
    if partner is None:
        return
    lam = draw_lam(len(label), alpha)
    target = mix_targets(label, partner, lam, 6)
    assert target.shape == (len(label), 6)
    torch.testing.assert_close(target.sum(1), torch.ones(len(label)))
    rows = torch.arange(len(label))
    torch.testing.assert_close(target[rows, label], lam)
    torch.testing.assert_close(target[rows, label[partner]], 1 - lam)


def test_lam_of_one_is_the_plain_batch_and_of_zero_the_partners():
    label, partner = torch.tensor([0, 1, 2, 1]), torch.tensor([1, 2, 3, 0])
    feature, image = unit(4), torch.randn(4, 3, 5, 5)
    one, zero = torch.ones(4), torch.zeros(4)
    assert torch.equal(mixup(image, image[partner], one), image)
    assert torch.equal(mixup(image, image[partner], zero), image[partner])
    torch.testing.assert_close(mix_features(feature, partner, one), feature)
    torch.testing.assert_close(mix_features(feature, partner, zero), feature[partner])
    assert torch.equal(mix_targets(label, partner, one, 3), F.one_hot(label, 3).float())
    assert torch.equal(mix_targets(label, partner, zero, 3), F.one_hot(label[partner], 3).float())


def test_each_image_has_its_own_proportion_and_is_not_normalised():
    image = torch.stack([torch.full((3, 2, 2), 8.0), torch.full((3, 2, 2), 4.0)])
    mixed = mixup(image, image[[1, 0]], torch.tensor([0.25, 0.5]))
    assert torch.equal(mixed[0], torch.full((3, 2, 2), 5.0))
    assert torch.equal(mixed[1], torch.full((3, 2, 2), 6.0))


def test_mixed_features_are_normalised_and_between_the_two():
    feature, partner = unit(8), torch.arange(8).roll(1)
    mixed = mix_features(feature, partner, torch.full((8,), 0.7))
    torch.testing.assert_close(mixed.norm(dim=-1), torch.ones(8))
    own, other = (mixed * feature).sum(1), (mixed * feature[partner]).sum(1)
    assert (own > other).all()
    assert (own > (feature * feature[partner]).sum(1)).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_opposite_features_that_cancel_out_stay_finite(dtype):
    feature = unit(1).repeat(2, 1).to(dtype)
    feature[1] = -feature[0]
    mixed = mix_features(feature, torch.tensor([1, 0]), torch.full((2,), 0.5))
    assert mixed.dtype == dtype
    assert torch.equal(mixed, torch.zeros_like(mixed))


def test_soft_cross_entropy():
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    label = torch.tensor([0, 3, 1, 1, 2])
    target = F.one_hot(label, 4).float()
    torch.testing.assert_close(soft_cross_entropy(logits, target), F.cross_entropy(logits, label))
    soft = torch.full((5, 4), 0.25)
    torch.testing.assert_close(soft_cross_entropy(logits, soft), -logits.log_softmax(1).mean())
    half = soft_cross_entropy(logits.half(), soft)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, soft_cross_entropy(logits, soft), atol=1e-3, rtol=1e-3)
