import functools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainers.prompting.mutual_information import (
    ClassInformation,
    ClusterInformation,
    Critic,
    MIEstimator,
    dv,
    infonce,
    information,
    jsd,
)

NAMES = ["jsd", "dv", "infonce"]


def correlated(n, dim, rho, generator):
    """Two views (n, dim) whose entries are correlated pairwise: I(X; Y) = -dim / 2 * log(1 - rho^2) nats."""
    x = torch.randn(n, dim, generator=generator)
    noise = torch.randn(n, dim, generator=generator)
    return x, rho * x + math.sqrt(1 - rho**2) * noise


def truth(dim, rho):
    return -dim / 2 * math.log(1 - rho**2)


def best_scores(x, y, rho):
    """log p(x_i, y_j) / p(x_i) p(y_j) of `correlated`, the critic at which dv is tight: (n, n)."""
    dim = x.shape[1]
    square = (x**2).sum(1)[:, None] + (y**2).sum(1)[None, :]
    return truth(dim, rho) - (rho**2 * square - 2 * rho * x @ y.t()) / (2 * (1 - rho**2))


def learn(name, draw, dim, steps=200):
    """Train a critic on batches draw(n) -> (x, y) and return the bound on 2,048 fresh samples."""
    torch.manual_seed(0)
    critic, estimator = Critic(dim, dim), MIEstimator(name)
    optimizer = torch.optim.Adam(critic.parameters(), lr=2e-3)
    for _ in range(steps):
        loss = -estimator(critic(*draw(128)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    critic.eval()
    estimator.eval()
    with torch.no_grad():
        return estimator(critic(*draw(2048))).item()


@functools.cache
def learn_gaussian(name, rho, dim=4):
    generator = torch.Generator().manual_seed(1)
    return learn(name, lambda n: correlated(n, dim, rho, generator), dim)


def random_scores(n, seed=0, scale=3.0):
    return scale * torch.randn(n, n, generator=torch.Generator().manual_seed(seed))


# ---- against mutual information that is known in closed form


@pytest.mark.parametrize("name", ["dv", "infonce"])
@pytest.mark.parametrize("rho", [0.0, 0.5, 0.8])
def test_learned_bound_approaches_the_truth_from_below(name, rho):
    # Over four seeds the learned bounds lay 1 to 10 % below the truth; 0.03 nats is sampling error.
    value = learn_gaussian(name, rho)
    assert 0.85 * truth(4, rho) - 0.03 < value < truth(4, rho) + 0.03


def test_learned_jsd_orders_correlations():
    values = [learn_gaussian("jsd", rho) for rho in (0.0, 0.5, 0.8)]
    assert values[0] == pytest.approx(-2 * math.log(2), abs=0.02)
    assert values[0] + 0.15 < values[1] < values[2] - 0.15 < -0.15


@pytest.mark.parametrize("bound", [dv, infonce])
def test_bound_is_tight_at_the_best_critic(bound):
    # With the exact ratio of densities only sampling error is left: 0.03 nats on 3,000 samples.
    x, y = correlated(3000, 2, 0.6, torch.Generator().manual_seed(0))
    scores = best_scores(x, y, 0.6)
    assert bound(scores).item() == pytest.approx(truth(2, 0.6), abs=0.03)
    assert bound(0.5 * scores) < bound(scores) - 0.03
    assert bound(2 * scores) < bound(scores) - 0.03


def test_jsd_is_largest_at_the_best_critic():
    x, y = correlated(3000, 2, 0.6, torch.Generator().manual_seed(0))
    scores = best_scores(x, y, 0.6)
    for other in (0.5 * scores, 2 * scores, scores + 0.5, scores - 0.5):
        assert jsd(other) < jsd(scores)


def test_many_classes_are_learned_at_the_learning_rate_of_prompts():
    # log-probabilities of 200 classes are large, with a common offset; a plain MLP learns nothing here.
    torch.manual_seed(0)
    head = torch.randn(64, 200)

    def views():
        feature = torch.randn(64, 64)
        return (feature @ head).log_softmax(1), ((feature + 0.3 * torch.randn(64, 64)) @ head).log_softmax(1)

    for name in NAMES:
        critic, estimator = Critic(200, 200), MIEstimator(name)
        optimizer = torch.optim.SGD(critic.parameters(), lr=2e-3, momentum=0.9, weight_decay=5e-4)
        values = []
        for _ in range(100):
            loss = -estimator(critic(*views()))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            values.append(-loss.item())
        assert values[-1] > values[0] + 0.3, name


# ---- the bounds as functions of the scores


def test_bounds_on_scores_worked_out_by_hand():
    scores = torch.tensor([[2.0, 0.0], [1.0, 3.0]])
    assert dv(scores).item() == pytest.approx(2.5 - math.log((1 + math.e) / 2))
    row_0 = 2 - math.log((math.e**2 + 1) / 2)
    row_1 = 3 - math.log((math.e + math.e**3) / 2)
    assert infonce(scores).item() == pytest.approx((row_0 + row_1) / 2)
    joint = -(math.log(1 + math.e**-2) + math.log(1 + math.e**-3)) / 2
    marginal = (math.log(2) + math.log(1 + math.e)) / 2
    assert jsd(scores).item() == pytest.approx(joint - marginal)


@given(n=st.integers(2, 12), seed=st.integers(0, 1000), scale=st.floats(0, 1e3), shift=st.floats(-50, 50))
def test_limits_and_invariances(n, seed, scale, shift):
    scores = random_scores(n, seed, scale)
    assert infonce(scores) <= math.log(n) + 1e-5
    assert jsd(scores) <= 0
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    shuffled = scores[order][:, order]  # the same samples in another order
    close = {"rtol": 1e-4, "atol": 1e-3 + 1e-6 * scale}
    for bound in (dv, infonce, jsd):
        torch.testing.assert_close(bound(shuffled), bound(scores), **close)
    for bound in (dv, infonce):
        torch.testing.assert_close(bound(scores + shift), bound(scores), **close)


@pytest.mark.parametrize("name", NAMES)
def test_extreme_scores_stay_finite(name):
    scores = (1e4 * random_scores(6)).requires_grad_()
    value = MIEstimator(name)(scores)
    value.backward()
    assert value.isfinite() and scores.grad.isfinite().all()


# ---- the corrected gradient of dv


def gradient(function, scores):
    scores = scores.clone().requires_grad_()
    function(scores).backward()
    return scores.grad


def test_first_batch_has_the_plain_gradient():
    scores = random_scores(6)
    torch.testing.assert_close(gradient(MIEstimator("dv"), scores), gradient(dv, scores))


def test_gradient_divides_by_the_moving_average():
    first, second = random_scores(6, seed=0), random_scores(6, seed=1)
    off = ~torch.eye(6, dtype=torch.bool)
    estimator = MIEstimator("dv", decay=0.75)
    estimator(first)
    average = 0.75 * first[off].exp().mean() + 0.25 * second[off].exp().mean()
    expected = torch.where(off, -second.exp() / (30 * average), torch.tensor(1 / 6))
    corrected = gradient(estimator, second)
    torch.testing.assert_close(corrected, expected)
    assert not torch.allclose(corrected, gradient(dv, second))


def test_value_is_the_bound_on_the_batch():
    estimator = MIEstimator("dv")
    estimator(random_scores(6, seed=0))
    torch.testing.assert_close(estimator(random_scores(6, seed=1)), dv(random_scores(6, seed=1)))


def test_evaluation_leaves_the_moving_average_alone():
    estimator = MIEstimator("dv")
    estimator(random_scores(6, seed=0))
    before = estimator.log_average.clone()
    estimator.eval()
    estimator(random_scores(6, seed=1))
    assert torch.equal(estimator.log_average, before)


# ---- types, names, errors


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", NAMES)
def test_half_precision_under_autocast_is_computed_in_single(name, dtype):
    torch.manual_seed(0)
    critic, estimator = Critic(8, 8), MIEstimator(name)
    logits = (20 * torch.randn(6, 8)).to(dtype).requires_grad_()
    view = logits.log_softmax(1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = critic(view, view)
        value = estimator(scores)
    assert scores.dtype == value.dtype == torch.float32
    torch.testing.assert_close(scores, critic(view.float(), view.float()))
    value.backward()
    assert value.isfinite() and logits.grad.isfinite().all() and logits.grad.abs().sum() > 0


def test_critic_scores_every_pair_of_views_of_different_size():
    torch.manual_seed(0)
    critic = Critic(3, 5).eval()
    x, y = torch.randn(4, 3), torch.randn(4, 5)
    scores = critic(x, y)
    assert scores.shape == (4, 4)
    torch.testing.assert_close(scores[1, 2], critic(x[1:2], y[2:3])[0, 0])
    assert scores.abs().max() <= critic.scale


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(1, 1), (0, 0), (3, 4)])
def test_too_few_pairs(name, shape):
    with pytest.raises(ValueError, match="at least 2 samples"):
        MIEstimator(name)(torch.zeros(shape))


# ---- of predicted classes, in closed form


def one_hot(labels, n):
    return torch.nn.functional.one_hot(labels, n).float().log()  # log-probabilities: 0 and -inf


@given(st.integers(1, 40))
def test_identical_certain_predictions_share_the_logarithm_of_the_number_of_classes(n):
    labels = torch.arange(n).repeat(3)
    assert ClassInformation()(one_hot(labels, n), one_hot(labels, n)).item() == pytest.approx(math.log(n), abs=1e-5)


@given(st.integers(1, 8), st.integers(1, 8))
def test_independent_predictions_share_nothing(n, m):
    x, y = torch.cartesian_prod(torch.arange(n), torch.arange(m)).view(-1, 2).t()
    assert ClassInformation()(one_hot(x, n), one_hot(y, m)).item() == pytest.approx(0, abs=1e-5)
    same = torch.randn(1, n).log_softmax(-1).expand(7, n)  # one prediction for all samples says nothing of them
    assert ClassInformation()(same, torch.randn(7, m).log_softmax(-1)).item() == pytest.approx(0, abs=1e-5)


@given(st.integers(0, 10**6))
def test_it_is_that_of_the_joint_distribution(seed):
    torch.manual_seed(seed)
    log_p, log_q = (torch.randn(9, n).log_softmax(-1) for n in (4, 6))
    joint = (log_p.exp()[:, :, None] * log_q.exp()[:, None, :]).mean(0).double()
    expected = joint * (joint / (joint.sum(1, True) * joint.sum(0, True))).log()
    assert ClassInformation()(log_p, log_q).item() == pytest.approx(expected.sum().item(), abs=1e-6)
    assert ClassInformation()(log_q, log_p).item() == pytest.approx(expected.sum().item(), abs=1e-6)


def test_its_gradient_is_right_and_finite_at_certain_predictions():
    torch.manual_seed(0)
    scores = torch.randn(5, 3, dtype=torch.double, requires_grad=True)
    other = torch.randn(5, 3, dtype=torch.double).softmax(-1)
    assert torch.autograd.gradcheck(lambda s: information(s.softmax(-1).t() @ other / 5), scores)
    scores = (200 * torch.eye(4)).requires_grad_()
    ClassInformation()(scores.detach().log_softmax(-1), scores.log_softmax(-1)).backward()
    assert torch.isfinite(scores.grad).all()


@given(st.integers(0, 10**6), st.integers(2, 12))
def test_clusters_share_no_more_than_their_number_allows(seed, n_clusters):
    torch.manual_seed(seed)
    heads = ClusterInformation(5, 7, n_clusters)
    value = heads(torch.randn(20, 5).log_softmax(-1), torch.randn(20, 7).log_softmax(-1)).item()
    assert -1e-5 <= value <= math.log(n_clusters) + 1e-5


def test_heads_learn_to_find_what_two_views_share():
    torch.manual_seed(0)
    labels = torch.arange(4).repeat(16)
    x, y = (10 * torch.nn.functional.one_hot(labels, 4) + torch.randn(64, 4) for _ in range(2))
    heads = ClusterInformation(4, 4, 4)
    optimizer = torch.optim.Adam(heads.parameters(), lr=0.05)
    before = heads(x, y).item()
    for _ in range(200):
        optimizer.zero_grad()
        (-heads(x, y)).backward()
        optimizer.step()
    assert before < 0.5 and heads(x, y).item() > math.log(3) - 0.1  # at least three of the four are told apart
