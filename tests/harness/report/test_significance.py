import itertools
import random

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.report.results import harmonic_mean
from harness.report.significance import detectable, difference, holm, interval, least_p, ranks, signed_rank

# ---- the interval ----------------------------------------------------------------------------------------------


def test_difference_of_means_and_of_harmonic_means():
    assert difference([82.0, 84.0], [80.0, 80.0]) == 3.0
    h = harmonic_mean(80.0, 60.0) - harmonic_mean(70.0, 50.0)  # of the means, not the mean of each seed's
    assert difference([70.0, 90.0], [50.0, 70.0], [70.0, 70.0], [50.0, 50.0]) == pytest.approx(h)
    assert difference([0.0], [0.0], [50.0], [50.0]) == -50.0


@pytest.mark.parametrize("n", [2, 3])
def test_two_or_three_seeds_give_the_least_and_the_greatest_resample(n):
    """All resamples of one seed alone have a chance of 1/4 or 1/27, which is more than the 2.5 % of each tail."""
    first, second = [81.0, 84.0, 82.0][:n], [80.0, 80.0, 80.5][:n]
    assert interval(first, second) == (1.0, 4.0)


def test_an_interval_of_h_is_of_whole_seeds():
    base, new, zero = [80.0, 90.0], [60.0, 70.0], [50.0, 50.0]
    low, high = interval(base, new, zero, zero)
    assert (low, high) == pytest.approx((harmonic_mean(80, 60) - 50, harmonic_mean(90, 70) - 50))


def test_what_both_methods_share_over_seeds_is_not_in_the_interval():
    """Seeds that are hard for both: values 20 points apart, differences that are all 1."""
    hard = [60.0, 70.0, 80.0]
    assert interval([value + 1 for value in hard], hard) == pytest.approx((1.0, 1.0))


def test_the_interval_is_the_same_each_time_and_whatever_was_drawn_before():
    first, second = [1.0, 5.0, 2.0, 8.0, 3.0], [0.0] * 5
    found = interval(first, second)
    random.seed(5), np.random.seed(5)
    assert interval(first, second) == found


def test_one_value_has_no_interval():
    assert interval([80.0], [70.0]) is None
    assert interval([], []) is None


# ---- the p-value -----------------------------------------------------------------------------------------------


def test_p_of_wins_alone_is_two_over_two_to_the_n():
    for n in range(1, 12):
        found = signed_rank(range(1, n + 1))
        assert (found.wins, found.ties, found.losses, found.n) == (n, 0, 0, n)
        assert found.p == pytest.approx(2 / 2**n) == least_p(n)
    assert least_p(5) > 0.05 > least_p(6)


def test_p_with_losses():
    """Of 8 differences with losses of ranks 1 and 3 the sum is 4: 7 of 256 signs have at most 4, on each side."""
    found = signed_rank([-0.1, 0.2, -0.3, 0.4, 0.5, 0.6, 0.7, 0.8])
    assert (found.wins, found.losses) == (6, 2)
    assert found.p == pytest.approx(2 * 7 / 256)


def test_ties_are_what_shows_as_nothing():
    found = signed_rank([0.004, -0.004, 0.0, 0.02, -0.01])
    assert (found.wins, found.ties, found.losses, found.n) == (1, 3, 1, 2)
    assert signed_rank([0.0, 0.001])[:3] == (0, 2, 0) and signed_rank([0.0, 0.001]).p is None


def by_hand(differences):
    """The share of all signs whose rank sum is as far from the middle as theirs; equal sizes have their mean rank."""
    sizes = sorted(abs(d) for d in differences)
    ranks = [sizes.index(abs(d)) + (sizes.count(abs(d)) + 1) / 2 for d in differences]
    middle = sum(ranks) / 2
    found = abs(sum(r for r, d in zip(ranks, differences) if d > 0) - middle)
    sums = [sum(itertools.compress(ranks, signs)) for signs in itertools.product((0, 1), repeat=len(ranks))]
    return sum(abs(s - middle) >= found - 1e-9 for s in sums) / len(sums)


@settings(max_examples=60)
@given(st.lists(st.integers(-300, 300).map(lambda hundredths: hundredths / 100), min_size=1, max_size=8))
def test_p_is_exact_with_equal_sizes_too(differences):
    differing = [d for d in differences if d]
    assume(differing)
    assert signed_rank(differences).p == pytest.approx(by_hand(differing))


# ---- several methods -------------------------------------------------------------------------------------------


def test_holm_by_hand():
    assert holm([0.04, 0.01, 0.03, 0.5]) == pytest.approx([0.09, 0.04, 0.09, 0.5])
    assert holm([0.6, 0.7]) == [1.0, 1.0] and holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_what_holms_steps_reject(p_values):
    """The definition: from the smallest on, as long as each is at most 0.05 over the number of those that are left."""
    rejected = set()
    for place, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if p_values[i] * (len(p_values) - place) > 0.05:
            break
        rejected.add(i)
    assert {i for i, p in enumerate(holm(p_values)) if p <= 0.05} == rejected


def test_what_could_be_found_is_found_in_80_of_100_cases():
    rng = np.random.default_rng(0)
    assert detectable([1.0]) is None and detectable([2.0, 2.0]) == 0.0
    n, true = 11, 1.7
    spread = (1.0, 1.5, 0.2, -1.0, -1.2, 0.3, 0.7, -0.5, -0.9, 0.4, -0.5)
    least = detectable(spread)
    drawn = rng.normal(true * least, np.std(spread, ddof=1), (20000, n))
    for times, share in ((true, 0.999), (1.0, 0.80)):
        found = stats.ttest_1samp(drawn + (times - true) * least, 0, axis=1).pvalue < 0.05
        assert found.mean() == pytest.approx(share, abs=0.02)


def test_ranks_as_in_demsars_paper():
    """Its critical values (table 5a) and the example of section 3.2.2: four methods on 14 data sets, 1.25."""
    rng = np.random.default_rng(0)
    for k, q in ((3, 2.343), (4, 2.569), (10, 3.164)):
        assert ranks(rng.normal(size=(k, 6))).critical == pytest.approx(q * (k * (k + 1) / 36) ** 0.5, abs=1e-3)
    assert ranks(rng.normal(size=(4, 14))).critical == pytest.approx(1.25, abs=0.005)


def test_equal_numbers_share_their_ranks():
    found = ranks([[80.0, 70.0], [80.001, 60.0], [50.0, 65.0]])
    assert found.mean == [1.25, 2.25, 2.5] and found.n == 2 and 0 < found.p <= 1
    assert ranks([[50.0, 60.0]] * 3)[:2] == ([2.0, 2.0, 2.0], 1.0)
