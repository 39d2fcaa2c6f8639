"""Tables as text: tabulate's formats, Markdown and LaTeX with the best results marked, CSV and JSON with all digits."""

import csv
import io
import json

from tabulate import tabulate, tabulate_formats

from .results import MISSING, Number
from .tables import TRANSDUCTIVE

# Columns that say what a row is of. Methods compete within one folder, number of shots and data set.
PLACE = ("folder", "shots", "data set")
KEYS = (*PLACE, "method", "config", "of", "source", "device")
OWN = ("markdown", "latex", "csv", "json")
FORMATS = sorted({*OWN, *tabulate_formats})
# tabulate escapes what LaTeX would read, so commands are put in behind it, in the place of characters no table has
_MARKS = {"markdown": ("**{}**", "<ins>{}</ins>"), "latex": ("\x01{}\x03", "\x02{}\x03")}
_COMMANDS = {"\x01": r"\textbf{", "\x02": r"\underline{", "\x03": "}"}


def render(tables, note: str, form: str = "github") -> str:
    """All tables in one of FORMATS, below a `note` for all of them.

    `markdown` and `latex` (booktabs) set the best number of a column bold and underline the second, among the methods
    that compete: transductive ones never do, and whoever shows the same digits shares a mark. `json` and `csv` have
    numbers unrounded; `csv` has a line for each number: its table, what its row is of, its column.
    """
    if form == "json":
        return json.dumps({"note": note, "tables": [_as_json(table) for table in tables]}, ensure_ascii=False, indent=1)
    if form == "csv":
        return _as_csv(tables)
    comment = "% " if form.startswith("latex") else ""
    heading = comment or ("## " if form in ("github", "pipe", "markdown") else "")
    blocks = [comment + note]
    for table in tables:
        blocks.append("\n".join([heading + table.title, *(comment + note for note in table.notes)]))
        if table.rows:
            blocks.append(_as_text(table, form))
    return "\n\n".join(blocks)


def _as_text(table, form):
    rows = mark_best(table, *_MARKS[form]) if form in _MARKS else table.rows
    name = {"markdown": "github", "latex": "latex_booktabs"}.get(form, form)
    text = tabulate(rows, table.headers, tablefmt=name, disable_numparse=True)
    for character, command in _COMMANDS.items() if form == "latex" else ():
        text = text.replace(character, command)
    return text


def mark_best(table, best: str, second: str) -> list:
    """A table's rows; each column's best and second number among competing methods stand in `best` and `second`."""
    rows = [list(row) for row in table.rows]
    if not table.ranked:
        return rows
    place = [i for i, name in enumerate(table.headers) if name in PLACE]
    method = table.headers.index("method")
    groups = {}
    for row in rows:
        if not row[method].endswith(TRANSDUCTIVE):
            groups.setdefault(tuple(row[i] for i in place), []).append(row)
    for group in groups.values():
        for i in range(len(table.headers)):
            values = sorted({_shown(row[i]) for row in group if isinstance(row[i], Number)}, reverse=True)
            marks = dict(zip(values, (best, second))) if len(values) > 1 else {}
            for row in group:
                if isinstance(row[i], Number):
                    row[i] = marks.get(_shown(row[i]), "{}").format(row[i])
    return rows


def _shown(number):
    return round(number.value, 2)


def _as_json(table):
    rows = [dict(zip(table.headers, map(_value, row))) for row in table.rows]
    return {"title": table.title, "notes": table.notes, "rows": rows}


def _value(cell):
    """A cell in JSON: null if it is missing, a number with its spread and seeds if it has those."""
    if isinstance(cell, Number):
        return {"mean": cell.value, "std": cell.std, "seeds": cell.seeds} if cell.seeds else cell.value
    return None if cell == MISSING else cell


def _as_csv(tables):
    out = io.StringIO()
    write = csv.writer(out, lineterminator="\n").writerow
    write(["table", *KEYS, "column", "value", "std", "seeds"])
    for table in tables:
        for row in table.rows:
            cells = dict(zip(table.headers, row))
            for name, cell in cells.items():
                if name in KEYS:
                    continue
                value, std, seeds = cell, "", ""
                if isinstance(cell, Number):
                    value, std, seeds = cell.value, "" if cell.std is None else cell.std, " ".join(map(str, cell.seeds))
                value = "" if value == MISSING else value
                write([table.title, *(cells.get(key, "") for key in KEYS), name, value, std, seeds])
    return out.getvalue().rstrip("\n")
