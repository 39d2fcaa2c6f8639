"""Tables as the page shows them, and the charts that are drawn from tables."""

import re
from typing import NamedTuple, Optional

from ...catalogue import TRAINERS
from ..formats import PLACE, mark_best
from ..leave_one_out import complete_methods
from ..measure import with_numbers
from ..measured import TESTS
from ..results import Number, rank
from ..significance import ranks
from ..tables import in_papers_order, method_text
from ..unmix import unmix
from . import charts

MARKS = {"\x01": "best", "\x02": "second"}  # what mark_best is to put before a number -> class of the style sheet


class Link(str):
    """Text of a cell that is the id of what it leads to."""


class Shown(NamedTuple):
    text: str
    value: Optional[float]  # what it is sorted by; None: its text
    mark: str
    link: bool


class View:
    """A table's cells as Shown, in bodies that are sorted apart, so that averages stay last."""

    def __init__(self, table, bars=False):
        self.title, self.notes, self.headers, self.ranked = table.title, table.notes, table.headers, table.ranked
        self.bars = bars  # numbers in percent are shown as lengths too
        self.numeric = [any(isinstance(row[i], Number) for row in table.rows) for i in range(len(table.headers))]
        marked = mark_best(table, *(mark + "{}" for mark in MARKS))
        bodies = {False: [], True: []}
        for row, texts in zip(table.rows, marked):
            shown = [_shown(cell, text) for cell, text in zip(row, texts)]
            bodies["average" in (row[i] for i in _place(table))].append(shown)
        self.bodies = [body for body in bodies.values() if body]


def _shown(cell, marked):
    if isinstance(cell, Number):
        return Shown(str(cell), cell.value, MARKS.get(marked[:1], ""), False)
    return Shown(cell, None, "", isinstance(cell, Link))


def _place(table):
    return [i for i, name in enumerate(table.headers) if name in PLACE]


# ---- charts ------------------------------------------------------------------------------------------------


def scatters(tables) -> list:
    """A chart of base against new for each folder, number of shots and data set of base-to-new tables."""
    found, looks = [], _looks(tables)
    for title, rows in _places(tables):
        points = {name: (row["base"], row["new"]) for name, row in rows.items()}
        points = {name: pair for name, pair in points.items() if all(isinstance(n, Number) for n in pair)}
        if points:
            found.append(charts.base_and_new(title, points, looks))
    return found


def few_shots(tables) -> list:
    """A chart of accuracy over shots for each folder and data set of few-shot tables that have several shots."""
    found, looks = [], _looks(tables)
    for title, rows in _places(tables):
        shots = {name: [c for c in row if re.fullmatch(r"\S+ shots?", c)] for name, row in rows.items()}
        curves = {name: {c: row[c] for c in shots[name] if isinstance(row[c], Number)} for name, row in rows.items()}
        curves = {name: curve for name, curve in curves.items() if len(curve) > 1}
        if curves:
            found.append(charts.few_shot(title, curves, looks))
    return found


def reliability_bins(runs, bins: Optional[int] = None) -> dict:
    """{what was tested: {method: [(mean confidence, accuracy, count)] of the bins that have images}}.

    In percent; all data sets, shots, configs and seeds of a method together.
    """
    found = {}  # part -> trainer -> bin -> [sum of confidences, of accuracies, count]
    for run in unmix(runs)[0]:
        for i, (confidence, accuracy, count) in enumerate(with_numbers(run, bins).reliability):
            if run.accuracy is not None and count:
                sums = found.setdefault(run.part, {}).setdefault(run.trainer, {}).setdefault(i, [0, 0, 0])
                for j, more in enumerate((confidence * count, accuracy * count, count)):
                    sums[j] += more
    return {
        what: {
            method_text(trainer): [
                (confidence / count, accuracy / count, count)
                for _, (confidence, accuracy, count) in sorted(found[part][trainer].items())
            ]
            for trainer in in_papers_order(found[part])
        }
        for part, what in TESTS.items()
        if part in found
    }


def reliabilities(runs) -> list:
    """A chart for each kind of test."""
    of_tests = reliability_bins(runs)
    looks = charts.looks(list(dict.fromkeys(name for lines in of_tests.values() for name in lines)))
    return [charts.reliability(what, lines, looks) for what, lines in of_tests.items()]


def mean_ranks(runs, protocols) -> list:
    """A critical-difference diagram for each average of three methods or more over data sets that all of them have."""
    found = []
    for title, _, methods in (one for name in protocols for one in complete_methods(runs, name)[0]):
        if len(methods) > 2:
            names = [" ".join(filter(None, (method.name, method.config))) for method in methods]
            found.append(
                charts.critical_difference(title, names, ranks([[o.value for o in m.of.values()] for m in methods]))
            )
    return found


def _places(tables):
    """(text, {method and config: {header: cell}}) for each place at which methods compete."""
    for table in tables:
        places = {}
        for row in table.rows:
            cells = dict(zip(table.headers, row))
            place = [f"{cells[key]} shots" if key == "shots" else cells[key] for key in PLACE if key in cells]
            name = " ".join(filter(None, (cells["method"], cells.get("config"))))
            places.setdefault(", ".join(place), {})[name] = cells
        yield from places.items()


def _looks(tables):
    """A method looks the same in all of their charts."""
    names = {name: row["method"] for _, rows in _places(tables) for name, row in rows.items()}
    return charts.looks(sorted(names, key=lambda n: (rank(TRAINERS, names[n].partition(" (")[0]), n)))
