"""One method against another: differences paired over seeds and data sets, and how sure they are.

Only what both have counts: the seeds of a data set that both have a result of, the data sets that have such seeds. The
interval of a data set is over its seeds, that of the last rows over the data sets, as are their wins and p-values.
"""

from collections import defaultdict
from statistics import fmean

from ..catalogue import TRAINERS
from ..errors import UserError
from .measured import LOWER_IS_BETTER, measured
from .results import MISSING, ORDER, combine, number, rank, shots_rank, signed
from .significance import RANDOM_STATE, RESAMPLES, detectable, holm, interval, least_p, signed_rank
from .tables import Table, leave_out, method_text, numbers_text

ALL = "all"  # in the place of the other method
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
HOLM = "p (Holm): corrected for the number of methods that stand in a table with one measure."
COULD_FIND = (
    "Could find: the smallest true difference that 80 of 100 such comparisons would tell from 0 (paired t-test, "
    "p < 0.05), if seeds or data sets spread as here."
)
LOWER = "Of {} lower is better: a win is a lower number."


def compare_tables(runs, protocol: str, method: str, other: str) -> list:
    """A table for each protocol's table that both methods are in, none if there is no such.

    A method is a trainer, or trainer/config where tables list several. `other` may be ALL: the averages over the data
    sets against each other method. Raises UserError if that leaves a choice.
    """
    found, mixed = measured(runs, protocol)
    groups = defaultdict(lambda: defaultdict(dict))  # (title, folder, shots) -> (data set, of) -> name -> Measured
    for one in found:
        label = f"{one.trainer}/{one.config}" if one.config else one.trainer
        names = {method, other} & {one.trainer, label}
        if other == ALL:
            names = names or {label}
        for name in names:
            pair = groups[one.title, one.folder, one.shots][one.dataset, one.of]
            if name in pair:
                configs = ", ".join(sorted(f"{name}/{of.config}" for of in (pair[name], one)))
                raise UserError(f"{name} has several configs in {one.title}: give one of them, {configs}")
            if one.dataset != (one.source or "source"):  # of xd and dg, the targets alone
                pair[name] = one
    tables = defaultdict(lambda: ([], {}))  # title -> rows, notes
    for title, folder, shots in sorted(groups, key=lambda group: (*group[:2], shots_rank(group[2]))):
        compared = _compare_all if other == ALL else _compare
        rows, notes = compared(groups[title, folder, shots], method, other)
        if rows:
            tables[title][0].extend([folder, shots, *row] for row in rows)
            tables[title][1].update(dict.fromkeys(notes))  # each once
    numbers = ["difference", "low", "high", "could find", "wins/ties/losses", "n", "p"]
    headers = ["folder", "shots", "data set", "of", method_text(method), method_text(other), *numbers, "seeds"]
    constant = CONSTANT
    if other == ALL:
        headers = ["folder", "shots", "of", "against", method_text(method), "other", *numbers, "p (Holm)", "data sets"]
        constant = CONSTANT[:2]
    return [
        Table(
            f"{title}: {method_text(method)} against {method_text(other)}",
            [NOTE, COULD_FIND, *mixed, *notes],
            *leave_out(headers, rows, constant),
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
        return combine(*map(fmean, series)) if self.seeds else None

    @property
    def cells(self):
        left_out = f" ({numbers_text(self.left_out)} left out)" if self.left_out else ""
        half = len(self.series) // 2
        by_seed = [combine(*values[:half]) - combine(*values[half:]) for values in zip(*self.series)]
        compared = _compared(self.first, self.second, self.series, by_seed)
        return [*compared, "", "", "", numbers_text(self.seeds) + left_out]


def _compared(first, second, series, differences):
    """Both values, their difference, its interval, and the least that could be found."""
    if first is None:
        return [MISSING] * 6
    low_high = map(signed, interval(*series) or (None, None))
    return [number(first), number(second), signed(first - second), *low_high, number(detectable(differences))]


def _compare(pairs, method, other):
    """Rows of {(data set, of): {name: Measured}}, the averages last, and what is to be said of them."""
    pairs = {key: Paired(pair[method], pair[other]) for key, pair in pairs.items() if {method, other} <= pair.keys()}
    datasets = sorted({dataset for dataset, _ in pairs}, key=lambda name: rank(ORDER, name))
    measures = list(dict.fromkeys(of for _, of in pairs))
    keys = [(dataset, of) for dataset in datasets for of in measures if (dataset, of) in pairs]
    rows = [[*key, *pairs[key].cells] for key in keys]
    n_seeds = {len(pairs[key].seeds) for key in keys}
    notes = [ONE_SEED] * (1 in n_seeds) + [FEW_SEEDS] * bool({2, 3} & n_seeds) + _lower(measures)
    if len(datasets) < 2:
        return rows, [*notes, ONE_DATASET]
    notes.append(P_VALUE)
    for of in measures:
        having = {dataset: pairs[dataset, of] for dataset in datasets if (dataset, of) in pairs}
        having = {dataset: pair for dataset, pair in having.items() if pair.seeds}
        lacking = [dataset for dataset in datasets if dataset not in having]
        remark = f"{len(having)} data sets" + (f"; without {', '.join(lacking)}" if lacking else "")
        if not having:
            rows.append(["average", of, *[MISSING] * 9, remark])
            continue
        cells, test = _over_datasets(having.values(), of)
        rows.append(["average", of, *cells, remark])
        if test.n < 6:
            notes.append(f"With n = {test.n} no p of {of} is below {least_p(test.n):.2g}: it cannot reach 0.05.")
    return rows, notes


def _compare_all(groups, method, _):
    """As `_compare`, the averages alone: a row for each measure and other method, p corrected over the methods."""
    others = {name: name for pair in groups.values() if method in pair for name in pair if name != method}
    others = sorted(others, key=lambda name: (rank(TRAINERS, name.partition("/")[0]), name))
    measures = list(dict.fromkeys(of for (_, of), pair in groups.items() if method in pair))
    rows = []
    for of in measures:
        found = []  # row without its last column, test, data sets
        for name in others:
            both = [pair for (_, its), pair in groups.items() if its == of and {method, name} <= pair.keys()]
            having = [pair for pair in (Paired(pair[method], pair[name]) for pair in both) if pair.seeds]
            if having:
                cells, test = _over_datasets(having, of)
                found.append(([of, method_text(name), *cells], test, len(having)))
        corrected = iter(holm([test.p for _, test, _ in found if test.p is not None]))
        for cells, test, n in found:
            rows.append([*cells, MISSING if test.p is None else number(next(corrected), ".2g"), str(n)])
    return rows, [P_VALUE, HOLM, *_lower(measures)] if rows else []


def _lower(measures):
    lower = [of for of in measures if of in LOWER_IS_BETTER]
    return [LOWER.format(", ".join(lower))] * bool(lower)


def _over_datasets(pairs, of):
    """Cells of an average over data sets, and its test: each data set counts by its mean over seeds."""
    first, second = [pair.first for pair in pairs], [pair.second for pair in pairs]
    differences = [a - b for a, b in zip(first, second)]
    test = signed_rank(differences)
    won = (test.losses, test.ties, test.wins) if of in LOWER_IS_BETTER else test[:3]
    cells = _compared(fmean(first), fmean(second), (first, second), differences)
    return [*cells, "/".join(map(str, won)), str(test.n), number(test.p, ".2g")], test
