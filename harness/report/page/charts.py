"""The page's charts: matplotlib's SVG, made part of the page.

Colours are the page's, so that they follow light and dark. A chart is small, so that it can be read on a phone; what it
shows stands in words in its description too.
"""

import io
import os
import re
import zlib
from typing import NamedTuple

import matplotlib.style
import numpy as np
from markupsafe import Markup, escape
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ...errors import UserError
from ...whole_file import write_whole
from ..results import harmonic_mean, shots_rank

SIZE = 4.6, 3.7  # inches; 331 x 266 units in the page
SERIES = 10  # colours of the page's style sheet, --series-0 and so on
# Colours to draw with, which `_inline` replaces by variables of the style sheet; no chart has them otherwise
INK, GRID, COLORS = "#0000f0", "#0000f1", [f"#0000a{i}" for i in range(SERIES)]
_VARIABLE = {INK: "ink", GRID: "line", **{color: f"series-{i}" for i, color in enumerate(COLORS)}}
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "h", "<", ">", "p")
DASHES = ("-", "--", "-.", ":")
STYLE = {
    **dict.fromkeys(["axes.edgecolor", "axes.labelcolor", "text.color", "xtick.color", "ytick.color"], INK),
    **dict.fromkeys(["figure.facecolor", "axes.facecolor", "savefig.facecolor"], "none"),
    **dict.fromkeys(["axes.spines.top", "axes.spines.right", "legend.frameon"], False),
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "font.size": 10,
    "legend.fontsize": 9,
    "svg.fonttype": "none",  # letters stay letters
    "svg.hashsalt": "page",  # the same chart is the same text
    "text.parse_math": False,  # a name may hold a dollar sign
}


class Chart(NamedTuple):
    title: str
    description: str
    svg: Markup


class Look(NamedTuple):
    """How a series is drawn in every chart."""

    color: str
    marker: str
    dash: str


def looks(names) -> dict:
    """A Look for each name: told apart by colour, and without it by marker and dash."""
    return {
        name: Look(COLORS[i % SERIES], MARKERS[i % len(MARKERS)], DASHES[i % len(DASHES)])
        for i, name in enumerate(names)
    }


def base_and_new(title: str, points: dict, look: dict) -> Chart:
    """{method: (base, new)}, both `results.Number`, over lines of equal harmonic mean."""

    def paint(axes):
        spans = [_span([pair[i] for pair in points.values()]) for i in (0, 1)]
        base, new = np.meshgrid(*(np.linspace(*span, 60) for span in spans))
        lines = axes.contour(base, new, np.vectorize(harmonic_mean)(base, new), levels=6, colors=GRID, linewidths=1)
        axes.clabel(lines, fmt="H %g", fontsize=8, colors=INK)
        for name, (base, new) in points.items():
            style = {"fmt": look[name].marker, "color": look[name].color, "markersize": 7, "capsize": 2}
            axes.errorbar(base.value, new.value, xerr=base.std, yerr=new.std, label=name, **style)
        axes.set(xlabel="base, %", ylabel="new, %", xlim=spans[0], ylim=spans[1])
        axes.grid(False)

    said = "; ".join(f"{name}: base {base}, new {new}" for name, (base, new) in points.items())
    return _draw(title, f"Accuracy on new over base classes, with lines of equal H. {said}.", paint)


def _span(numbers):
    """The part of an axis to show: all numbers with their spread, and room around."""
    low = min(n.value - (n.std or 0) for n in numbers)
    high = max(n.value + (n.std or 0) for n in numbers)
    room = max(1.5, 0.15 * (high - low))
    return max(0, low - room), min(100.5, high + room)


def few_shot(title: str, curves: dict, look: dict) -> Chart:
    """{method: {"4 shots": Number}}: a line of means in a band of one standard deviation."""
    columns = sorted({column for curve in curves.values() for column in curve}, key=shots_rank)

    def paint(axes):
        for name, curve in curves.items():
            x = [columns.index(column) for column in curve]
            mean = np.array([n.value for n in curve.values()])
            std = np.array([n.std or 0 for n in curve.values()])
            color, marker, dash = look[name]
            axes.fill_between(x, mean - std, mean + std, color=color, alpha=0.18, linewidth=0)
            axes.plot(x, mean, color=color, marker=marker, linestyle=dash, markersize=5, label=name)
        axes.set_xticks(range(len(columns)), [column.split()[0] for column in columns])
        axes.set(xlabel="labelled images per class", ylabel="accuracy, %")

    said = "; ".join(f"{name}: " + ", ".join(f"{k} {v}" for k, v in curve.items()) for name, curve in curves.items())
    return _draw(title, f"Accuracy by number of shots; bands: one standard deviation over seeds. {said}.", paint)


def losses(title: str, terms: dict) -> Chart:
    """{term: {seed: ([step], [value])}}: a line for each seed."""
    look = looks(terms)

    def paint(axes):
        for term, by_seed in terms.items():
            color, _, dash = look[term]
            for i, (steps, values) in enumerate(by_seed.values()):
                label = None if i else term
                axes.plot(steps, values, color=color, linestyle=dash, linewidth=1.2, alpha=0.85, label=label)
        axes.set(xlabel="step", ylabel="loss")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))

    said = "; ".join(
        f"{term} of seed {seed} from {values[0]:.4g} to {values[-1]:.4g} at step {steps[-1]}"
        for term, by_seed in terms.items()
        for seed, (steps, values) in by_seed.items()
    )
    return _draw(title, f"Weighted loss terms while training. {said}.", paint)


def reliability(title: str, lines: dict, look: dict) -> Chart:
    """{method: [(mean confidence, accuracy, count)]}, a point for each bin that has images."""
    said = "; ".join(
        f"{name}: "
        + ", ".join(f"{confidence:.0f} % sure, {accuracy:.0f} % right" for confidence, accuracy, _ in points)
        for name, points in lines.items()
    )
    description = (
        f"Accuracy over mean confidence in bins of confidence; on the diagonal a model is as sure as right. {said}."
    )
    return _draw(title, description, lambda axes: _paint_reliability(axes, lines, look))


def _paint_reliability(axes, lines, look):
    axes.plot([0, 100], [0, 100], color=GRID, linewidth=1.2)
    for name, points in lines.items():
        color, marker, dash = look[name]
        x, y, _ = zip(*points)
        axes.plot(x, y, color=color, marker=marker, linestyle=dash, markersize=4, linewidth=1.2, label=name)
    axes.set(xlabel="mean confidence, %", ylabel="accuracy, %", xlim=(0, 101), ylim=(0, 101))


def save_reliability(path: str, of_tests: dict) -> None:
    """Write {what was tested: lines of `reliability`} to a file whose ending matplotlib knows. Raises UserError."""
    ending = os.path.splitext(path)[1].lstrip(".").lower()
    if ending not in ("svg", "png", "pdf"):
        raise UserError(f'"{path}" has no ending that says what it is to be: name it .svg, .png or .pdf')
    if not of_tests:
        raise UserError("no test has its bins of confidence on record, or predictions.npz to take them from")
    names = list(dict.fromkeys(name for lines in of_tests.values() for name in lines))
    with matplotlib.style.context("default"):
        figure = Figure(figsize=(SIZE[0] * len(of_tests), SIZE[1] + 1), layout="constrained")
        look = {name: each._replace(color=f"C{i % SERIES}") for i, (name, each) in enumerate(looks(names).items())}
        for axes, (what, lines) in zip(np.ravel(figure.subplots(1, len(of_tests))), of_tests.items()):
            _paint_reliability(axes, lines, look)
            axes.lines[0].set_color("0.8")
            axes.set_title(what)
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=6)
        out = io.BytesIO()
        figure.savefig(out, format=ending)
    write_whole(path, out.getvalue(), "give --figure another file")


def critical_difference(title: str, names: list, ranks) -> Chart:
    """`significance.Ranks` of methods: a bar joins those that Nemenyi's test does not tell apart."""
    order = sorted(range(len(names)), key=lambda i: ranks.mean[i])
    mean = [ranks.mean[i] for i in order]
    groups = []  # (first, last) in `order`, as long as they can be
    for first in range(len(order)):
        last = max(i for i in range(len(order)) if mean[i] <= mean[first] + ranks.critical)
        if last > first and not (groups and last <= groups[-1][1]):
            groups.append((first, last))

    def paint(axes):
        for place, i in enumerate(order):
            axes.plot(mean[place], place, "o", color=INK, markersize=4)
            beside = {"xytext": (6, 0), "textcoords": "offset points", "va": "center"}
            axes.annotate(names[i], (mean[place], place), **beside, fontsize=9, color=INK)
        for number, (first, last) in enumerate(groups):
            x = mean[first], mean[last]
            y = len(order) + 0.2 + 0.6 * number
            axes.plot(x, (y, y), color=COLORS[0], linewidth=3, solid_capstyle="butt")
        axes.set(xlabel=f"mean rank (1 is best); critical difference {ranks.critical:.2f}", yticks=[])
        axes.set_xlim(0.5, len(order) + 0.25 * len(order))
        axes.invert_yaxis()
        axes.spines["left"].set_visible(False)
        axes.grid(False, axis="y")

    said = ", ".join(f"{names[i]} {ranks.mean[i]:.2f}" for i in order)
    joined = "; ".join(f"{names[order[first]]} to {names[order[last]]}" for first, last in groups) or "none"
    description = (
        f"Mean ranks over {ranks.n} data sets: {said}. Friedman's test: p = {ranks.p:.2g}. Critical difference "
        f"{ranks.critical:.2f} (Nemenyi, 0.05). Not told apart: {joined}."
    )
    return _draw(title, description, paint)


def _draw(title, description, paint):
    with matplotlib.style.context(["default", STYLE]):
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.subplots()
        paint(axes)
        names = axes.get_legend_handles_labels()[1]
        if names:
            columns = 2 if max(map(len, names)) > 16 else 3
            figure.legend(loc="outside lower center", ncols=columns, handlelength=1.8, columnspacing=1.2)
        out = io.StringIO()
        figure.savefig(out, format="svg")
    return Chart(title, description, _inline(out.getvalue(), title, description))


def _inline(svg, title, description):
    """A drawing as a part of HTML: named for who cannot see it, its colours the page's, its ids its own."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<(metadata|style)\b.*?</\1>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"(?<=fill: |roke: )#0000[0-9a-f]{2}", lambda m: f"var(--{_VARIABLE[m[0]]})", svg)
    own = f"c{zlib.crc32((title + svg).encode()):08x}"
    svg = re.sub(r'(?<=\bid=")|(?<=url\(#)|(?<=href="#)', f"{own}-", svg)
    names = f'<title id="{own}-t">{escape(title)}</title><desc id="{own}-d">{escape(description)}</desc>'
    start = f'<svg role="img" aria-labelledby="{own}-t" aria-describedby="{own}-d"'
    return Markup(re.sub(r"^<svg([^>]*)>", lambda m: start + m[1] + ">" + names, svg, count=1))
