"""One HTML page of all that a folder of runs has to tell: `python tools/report.py OUTPUT --html FILE`.

The page is one file that loads nothing from elsewhere: style, script, charts and pictures are in it, and its content
security policy forbids all else. All text is escaped by Jinja, and only the page's own script may run.

    view.py         tables, and the charts that are drawn from them by charts.py
    curves.py       loss terms over steps
    mistakes.py     accuracy by class, confused pairs
    settings.py     each run's result, versions and settings
    missing.py      what has no result
    names.py        what runs are called, and their order
    page.html, page.css, page.js      the page itself
"""

import base64
import datetime
import hashlib
import os
from pathlib import Path
from typing import NamedTuple

import jinja2
from markupsafe import Markup

from ...whole_file import write_whole
from ..cost import cost_tables
from ..fairness import fairness_tables
from ..measure_tables import calibration_tables, class_tables
from .curves import loss_charts
from .missing import begun, lacking
from .mistakes import find_mistakes
from .settings import runs_and_settings
from .view import View, few_shots, mean_ranks, reliabilities, scatters

HERE = Path(__file__).parent
MOST_FIGURE_BYTES = 2 * 2**20  # of an embedded t-SNE figure


def write_page(path, output, runs, warnings, tables) -> None:
    """Write the page of `runs`, found below `output` with `warnings`; `tables` are {protocol: [Table]}.

    Raises UserError if the file cannot be written; an earlier one is then as it was.
    """
    page = render_page(output, runs, warnings, tables)
    write_whole(path, page.encode(), "give --html another file")


def render_page(output, runs, warnings, tables) -> str:
    losses, losses_notes = loss_charts(output, runs)
    mistakes, mistakes_notes = find_mistakes(runs)
    runs_table, common, settings = runs_and_settings(runs)
    script = _part("page.js")
    return _template().render(
        output=os.path.abspath(output),
        written=datetime.datetime.now().strftime("%Y-%m-%d %H:%M"),
        style=Markup(_part("page.css")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        counts=_counts(runs),
        tables=[View(table) for of_protocol in tables.values() for table in of_protocol],
        scatters=scatters(tables.get("base2new", [])),
        few_shots=few_shots(tables.get("few_shot", [])),
        mean_ranks=mean_ranks(runs, tables),
        reliabilities=reliabilities(runs),
        losses=losses,
        losses_notes=losses_notes,
        mistakes=[(each, View(each.table, bars=True)) for each in mistakes],
        mistakes_notes=mistakes_notes,
        figures=_figures(output, runs),
        measures=[View(table) for tables_of in (calibration_tables, class_tables) for table in tables_of(runs)],
        fairness=list(map(View, fairness_tables(runs))),
        costs=list(map(View, cost_tables(runs))),
        runs=View(runs_table),
        common=common,
        settings=settings,
        warnings=warnings,
        begun=begun(runs),
        lacking=list(map(View, lacking(runs, tables))),
    )


def _part(name):
    return (HERE / name).read_text(encoding="utf-8")


def _template():
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_part("page.html"))


def _counts(runs):
    return {
        "runs": len(runs),
        "with a result": sum(run.accuracy is not None for run in runs),
        "methods": len({run.trainer for run in runs}),
        "data sets": len({run.dataset for run in runs}),
        "seeds": len({run.seed for run in runs}),
    }


class Figure(NamedTuple):
    """A picture that tools/tsne.py drew; without `source` it is too large to embed."""

    path: str
    source: str


def _figures(output, runs):
    """The smaller of tsne.svg and tsne.png in figures/ of each output folder."""
    found = []
    for root in sorted({run.root for run in runs}):
        paths = [Path(output, root, "figures", f"tsne.{ending}") for ending in ("svg", "png")]
        paths = sorted((path for path in paths if path.is_file()), key=lambda path: path.stat().st_size)
        for path in paths[:1]:
            kind = "svg+xml" if path.suffix == ".svg" else "png"
            fits = path.stat().st_size <= MOST_FIGURE_BYTES
            source = f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}" if fits else ""
            found.append(Figure(os.path.normpath(path), source))
    return found
