"""How sure differences are: bootstrap intervals, Wilcoxon's test with Holm's correction, Friedman's with Nemenyi's."""

import math
from typing import NamedTuple, Optional

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
RESAMPLES = 9999
RANDOM_STATE = 0  # the same runs give the same interval
POWER = 0.8


def difference(*series, axis: int = -1):
    """The first method's measure minus the second's, of the means of their series.

    `series` are for each method one (its accuracies) or two (base and new, for H); several resamples at once are arrays
    with the values along `axis`, as scipy.stats.bootstrap gives them.
    """
    means = [np.mean(values, axis=axis) for values in series]
    half = len(means) // 2
    return _measure(*means[:half]) - _measure(*means[half:])


def _measure(*means):
    """`results.combine` of arrays."""
    if len(means) == 1:
        return means[0]
    base, new = means
    return 2 * base * new / np.where(base + new > 0, base + new, 1)


def interval(*series) -> Optional[tuple]:
    """(low, high) of the 95 % percentile bootstrap interval of `difference`, resampling all series alike.

    None for fewer than two values. Of two or three values it is the least and the greatest that a resample can give,
    which holds the true difference less often than 95 times in 100: about 50 and 75 times.
    """
    if len(series[0]) < 2:
        return None
    found = stats.bootstrap(
        [np.asarray(values, float) for values in series],
        difference,
        paired=True,
        vectorized=True,
        method="percentile",  # the corrected ones are undefined where all differences are equal
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        random_state=np.random.default_rng(RANDOM_STATE),
    ).confidence_interval
    return float(found.low), float(found.high)


class SignedRank(NamedTuple):
    wins: int
    ties: int  # differences that show as 0.00
    losses: int
    p: Optional[float]  # two-sided; None if nothing differs

    @property
    def n(self) -> int:
        """The data sets that the p-value is of: those that differ."""
        return self.wins + self.losses


def signed_rank(differences) -> SignedRank:
    """Wilcoxon's signed-rank test of paired differences, rounded to the two digits that tables show.

    Ties are left out, as Wilcoxon does. Exact up to 13 differences, and up to 50 if no two are of one size; with n of
    them no p is below 2 / 2^n.
    """
    shown = [round(value, 2) for value in differences]
    differing = [value for value in shown if value]
    wins = sum(value > 0 for value in differing)
    p = float(stats.wilcoxon(differing).pvalue) if differing else None
    return SignedRank(wins, len(shown) - len(differing), len(differing) - wins, p)


def least_p(n: int) -> float:
    """The smallest two-sided p that n differences can give."""
    return math.ldexp(2.0, -n)


def holm(p_values) -> list:
    """p-values of several tests, corrected so that all of them together err in 5 of 100 cases, and not each.

    Holm 1979 (Scandinavian Journal of Statistics 6): the smallest of m times m, the next times m - 1, and so on, none
    smaller than the one before, and none above 1.
    """
    corrected, largest = [1.0] * len(p_values), 0.0
    for place, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[i]))
        corrected[i] = largest
    return corrected


def detectable(differences) -> Optional[float]:
    """The smallest true difference that would be found in 80 of 100 such comparisons; None for fewer than two.

    Found: p < 0.05 in a two-sided paired t-test, (t(0.975) + t(0.8)) s / sqrt(n) with n - 1 degrees of freedom, if
    differences spread as these do. Wilcoxon's test needs about as much.
    """
    n = len(differences)
    if n < 2:
        return None
    quantiles = stats.t.ppf([(1 + CONFIDENCE) / 2, POWER], n - 1)
    return float(quantiles.sum() * np.std(differences, ddof=1) / math.sqrt(n))


class Ranks(NamedTuple):
    """Methods on the same data sets: their mean ranks, 1 the best, and how far two must be apart."""

    mean: list  # of each method
    p: float  # Friedman's test: that none differs from another
    critical: float  # difference of two mean ranks that Nemenyi's test tells apart at 0.05
    n: int  # data sets


def ranks(values) -> Ranks:
    """Of numbers (methods, data sets), the higher the better, rounded to the two digits that tables show.

    Friedman's test and Nemenyi's critical difference q sqrt(k (k + 1) / (6 n)) of k >= 3 methods on n >= 2 data sets:
    Demsar 2006 (JMLR 7), sections 3.2.2 and 3.2.3.
    """
    values = np.round(np.asarray(values, float), 2)
    k, n = values.shape
    mean = stats.rankdata(-values, axis=0).mean(axis=1)
    q = stats.studentized_range.ppf(CONFIDENCE, k, np.inf) / math.sqrt(2)
    differ = (values != values[:1]).any()
    p = float(stats.friedmanchisquare(*values).pvalue) if differ else 1.0
    return Ranks(mean.tolist(), p, float(q * math.sqrt(k * (k + 1) / (6 * n))), n)
