"""What a subject has measured, for people and for programs."""

import json
from dataclasses import asdict, dataclass

from tabulate import tabulate


@dataclass
class Table:
    title: str
    columns: list  # (name, how its numbers are printed: ".1f"; "" for text)
    rows: list  # a cell for each column; None: there is no such number

    def text(self):
        rows = [
            ["–" if cell is None else format(cell, spec) for cell, (_, spec) in zip(row, self.columns)]
            for row in self.rows
        ]
        names = [name for name, _ in self.columns]
        return f"{self.title}\n\n{tabulate(rows, names, tablefmt='github', disable_numparse=True)}"

    def json(self):
        return json.dumps(asdict(self), indent=2)
