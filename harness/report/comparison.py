"""One method against another: differences paired over seeds and data sets, and how sure they are.

Only what both have counts: the seeds of a data set that both have a result of, the data sets that have such seeds. The
interval of a data set is over its seeds, that of the last rows over the data sets, as are their wins and p-values.
"""

from collections import defaultdict

from ..errors import UserError
from .results import MISSING, ORDER, combine, mean_and_std, measured, number, rank, shots_rank, signed
from .significance import RANDOM_STATE, RESAMPLES, interval, least_p, signed_rank
from .tables import Table, leave_out, method_text, numbers_text

CONSTANT = ("folder", "shots", "of", "wins/ties/losses", "n", "p")  # left out where they say one thing
NOTE = (
    f"Difference: first minus second, of the seeds that both have. 95 % interval: percentile bootstrap ({RESAMPLES} "
    f"resamples, random state {RANDOM_STATE}), of a data set over its seeds, of the rows average (means of the rows "
    "above) over the data sets."
)
ONE_SEED = "One seed gives no interval."
FEW_SEEDS = (
    "Of 2 or 3 seeds the interval is no wider than their range, which holds the true difference in about 50 or 75 of "
    "100 cases, not in 95."
)
ONE_DATASET = "One data set gives no interval over data sets and no p-value."
P_VALUE = (
    "p: two-sided Wilcoxon signed-rank test over the n data sets whose difference does not show as 0.00 (a tie), not "
    "corrected for the number of tests."
)


def compare_tables(runs, protocol: str, method: str, other: str) -> list:
    """A table for each protocol's table that both methods are in, none if there is no such.

    A method is a trainer, or trainer/config where tables list several. Raises UserError if that leaves a choice.
    """
    found, mixed = measured(runs, protocol)
    groups = defaultdict(lambda: defaultdict(dict))  # (title, folder, shots) -> (data set, of) -> name -> Measured
    for one in found:
        for name in {method, other} & {one.trainer, f"{one.trainer}/{one.config}"}:
            pair = groups[one.title, one.folder, one.shots][one.dataset, one.of]
            if name in pair:
                configs = ", ".join(sorted(f"{name}/{of.config}" for of in (pair[name], one)))
                raise UserError(f"{name} has several configs in {one.title}: give one of them, {configs}")
            if one.dataset != (one.source or "source"):  # of xd and dg, the targets alone
                pair[name] = one
    tables = defaultdict(lambda: ([], {}))  # title -> rows, notes
    for title, folder, shots in sorted(groups, key=lambda group: (*group[:2], shots_rank(group[2]))):
        pairs = groups[title, folder, shots]
        pairs = {key: (pair[method], pair[other]) for key, pair in pairs.items() if len(pair) == 2}
        if pairs:
            rows, notes = _compare(pairs)
            tables[title][0].extend([folder, shots, *row] for row in rows)
            tables[title][1].update(dict.fromkeys(notes))  # each once
    headers = ["folder", "shots", "data set", "of", method_text(method), method_text(other)]
    headers += ["difference", "low", "high", "wins/ties/losses", "n", "p", "seeds"]
    return [
        Table(
            f"{title}: {method_text(method)} against {method_text(other)}",
            [NOTE, *mixed, *notes],
            *leave_out(headers, rows, CONSTANT),
        )
        for title, (rows, notes) in tables.items()
    ]


class Paired:
    """Two methods' Measured of one data set, on the seeds that both have: their values in percent, None without any."""

    def __init__(self, first, second):
        cells = [*first.cells.values(), *second.cells.values()]
        self.seeds = sorted(set.intersection(*(set(cell.by_seed) for cell in cells)))
        self.left_out = sorted(set().union(*(cell.by_seed for cell in cells)) - set(self.seeds))
        self.series = [[cell.by_seed[seed] for seed in self.seeds] for cell in cells]
        self.first, self.second = self._value(len(first.cells), 0), self._value(len(first.cells), 1)

    def _value(self, n, which):
        series = self.series[n * which : n * (which + 1)]
        return combine(*(mean_and_std(values)[0] for values in series)) if self.seeds else None

    @property
    def cells(self):
        left_out = f" ({numbers_text(self.left_out)} left out)" if self.left_out else ""
        found = interval(*self.series) if self.seeds else None
        return [*_compared(self.first, self.second, found), "", "", "", numbers_text(self.seeds) + left_out]


def _compared(first, second, found):
    """Both values, their difference and its interval."""
    if first is None:
        return [MISSING] * 5
    return [number(first), number(second), signed(first - second), *map(signed, found or (None, None))]


def _compare(pairs):
    """Rows of {(data set, of): (Measured, Measured)}, the averages last, and what is to be said of them."""
    pairs = {key: Paired(*pair) for key, pair in pairs.items()}
    datasets = sorted({dataset for dataset, _ in pairs}, key=lambda name: rank(ORDER, name))
    measures = list(dict.fromkeys(of for _, of in pairs))
    keys = [(dataset, of) for dataset in datasets for of in measures if (dataset, of) in pairs]
    rows = [[*key, *pairs[key].cells] for key in keys]
    n_seeds = {len(pairs[key].seeds) for key in keys}
    notes = [ONE_SEED] * (1 in n_seeds) + [FEW_SEEDS] * bool({2, 3} & n_seeds)
    if len(datasets) == 1:
        return rows, [*notes, ONE_DATASET]
    notes.append(P_VALUE)
    for of in measures:
        having = {dataset: pairs[dataset, of] for dataset in datasets if (dataset, of) in pairs}
        having = {dataset: pair for dataset, pair in having.items() if pair.seeds}
        lacking = [dataset for dataset in datasets if dataset not in having]
        remark = f"{len(having)} data sets" + (f"; without {', '.join(lacking)}" if lacking else "")
        if not having:
            rows.append(["average", of, *[MISSING] * 8, remark])
            continue
        first, second = [pair.first for pair in having.values()], [pair.second for pair in having.values()]
        test = signed_rank(a - b for a, b in zip(first, second))
        compared = _compared(mean_and_std(first)[0], mean_and_std(second)[0], interval(first, second))
        counts = [f"{test.wins}/{test.ties}/{test.losses}", str(test.n), number(test.p, ".2g")]
        rows.append(["average", of, *compared, *counts, remark])
        if test.n < 6:
            notes.append(f"With n = {test.n} no p of {of} is below {least_p(test.n):.2g}: it cannot reach 0.05.")
    return rows, notes
