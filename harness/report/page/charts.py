"""The page's charts: matplotlib's SVG, made part of the page.

Colours are the page's, so that they follow light and dark. A chart is small, so that it can be read on a phone; what it
shows stands in words in its description too.
"""

import io
import re
import zlib
from typing import NamedTuple

import matplotlib.style
import numpy as np
from markupsafe import Markup, escape
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

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


def _draw(title, description, paint):
    with matplotlib.style.context(["default", STYLE]):
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.subplots()
        paint(axes)
        names = axes.get_legend_handles_labels()[1]
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
