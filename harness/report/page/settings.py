"""The runs that have a result: what they measured, the versions they ran on, and the settings that tell them apart."""

from typing import NamedTuple

from ...records import record_of
from ..results import MISSING, number
from ..tables import Table, leave_out, method_text, numbers_text
from .names import by_kind, in_order, place_text
from .view import Link

HEADERS = "run, method, config, seed, epochs, accuracy, seconds, memory, device".split(", ")
UNITS = "Accuracy in %; seconds of the process that left the result; memory at its peak, in MiB."


class SettingsGroup(NamedTuple):
    """The runs that have the same settings; `items` are the (key, value) that not all runs of the page share."""

    id: str
    runs: list
    items: list

    @property
    def title(self):
        kinds = [f"{method_text(kind[0].trainer)}, {place_text(kind[0])}" for kind in by_kind(self.runs).values()]
        seeds = sorted({run.seed for run in self.runs})
        return f"{'; '.join(dict.fromkeys(kinds))} (seeds {numbers_text(seeds)})"


def runs_and_settings(runs) -> tuple:
    """(Table of all runs with a result, [(key, value)] that all share, [SettingsGroup])."""
    runs = [run for run in in_order(runs) if run.accuracy is not None]
    records = [record_of(run.folder) for run in runs]
    common, groups = _settings(runs)
    links = {run.what: Link(group.id) for group in groups for run in group.runs}
    versions = list(dict.fromkeys(name for record in records for name in record.get("versions", {})))
    rows = []
    for run, record in zip(runs, records):
        measures = [number(run.accuracy), number(run.seconds, ".1f"), number(run.peak_memory, ".0f")]
        epochs = str(record.get("trained_epochs", MISSING))
        if record.get("epoch", epochs) not in (epochs, record.get("trained_epochs")):  # the best model's
            epochs = f"{record['epoch']} of {epochs}"
        row = [place_text(run), method_text(run.trainer), run.cfg, number(run.seed, "d"), epochs, *measures, run.device]
        row += [str(record.get("versions", {}).get(name, MISSING)) for name in versions]
        rows.append([*row, str(record.get("git_commit") or MISSING), links.get(run.what, MISSING)])
    headers = [*HEADERS, *versions, "commit", "settings"]
    constant = ["config", "device", *versions, "commit"] if len(rows) > 1 else []
    shown, rows_shown = leave_out(headers, rows, constant)
    notes = [UNITS]
    same = [f"{name} {rows[0][headers.index(name)]}" for name in constant if name not in shown]
    if same:
        notes.append(f"The same in all: {', '.join(same)}.")
    return Table("Runs", notes, shown, rows_shown), common, groups


def _settings(runs):
    """What all runs with settings on record share, and the sets of the rest."""
    recorded = [run for run in runs if run.settings]
    texts = {run.what: {k: _text(v) for k, v in run.settings.items() if k != "SEED"} for run in recorded}
    shared = set.intersection(*(set(settings.items()) for settings in texts.values())) if texts else set()
    groups = {}
    for run in recorded:
        rest = tuple(sorted(texts[run.what].items() - shared))
        groups.setdefault(rest, []).append(run)
    found = [SettingsGroup(f"settings-{i}", of, list(rest)) for i, (rest, of) in enumerate(groups.items(), start=1)]
    return sorted(shared), found


def _text(value):
    return '""' if value == "" else str(value)
