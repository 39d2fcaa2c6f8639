"""How sure a difference is: an interval by bootstrap, a p-value by Wilcoxon's signed-rank test."""

import math
from typing import NamedTuple, Optional

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
RESAMPLES = 9999
RANDOM_STATE = 0  # the same runs give the same interval


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
