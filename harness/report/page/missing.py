"""What is missing: runs without a result, and the seeds that cells of the tables lack."""

from ...catalogue import TRAINERS
from ...layout import last_epoch
from ..measured import measured
from ..results import ORDER, rank, shots_rank
from ..tables import Table, leave_out, method_text, numbers_text
from .names import in_order, place_text


def begun(runs) -> list:
    """A sentence for each run whose folder is there and that has no result that counts."""
    found = []
    for run in in_order(run for run in runs if run.accuracy is None):
        epoch = last_epoch(run.folder)
        state = f"trained to epoch {epoch}" if epoch else "no checkpoint"
        state = "no test that counts" if run.part in ("new", "joint", "target") else state
        found.append(f"{method_text(run.trainer)}, {place_text(run)}, seed {run.seed}: {state}")
    return found


def lacking(runs, protocols) -> list:
    """One Table, or none: the seeds that cells of the protocols' tables lack."""
    rows = []
    for protocol in protocols:
        found = measured(runs, protocol)[0]
        for one in sorted(found, key=lambda one: (one.title, one.folder, *_order(one))):
            # Base and new say it of H, and all that a joint test measures lacks the same seeds
            said = one.of == "all" if protocol == "joint" else one.of != "H"
            for name, cell in one.cells.items() if said else ():
                if cell.missing:
                    row = [one.title, one.folder, one.shots, one.dataset, method_text(one.trainer), one.config, name]
                    rows.append([*row, numbers_text(cell.missing)])
    headers = "table, folder, shots, data set, method, config, of, missing seeds".split(", ")
    return [Table("Seeds without a result in the tables", [], *leave_out(headers, rows))] if rows else []


def _order(one):
    return shots_rank(one.shots), rank(ORDER, one.dataset), rank(TRAINERS, one.trainer), one.config
