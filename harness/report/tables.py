"""The papers' tables of a list of runs: base / new / H, cross-dataset, domain generalization, few-shot.

What is missing stays visible in all of them: a dash, and the last column says which seeds or data sets have no
result. H and the average over targets need the same seeds in all that they are made of. The rows "average" are
over the data sets' means and need every data set of the table; their spread is that of the average over seeds, and
where seeds differ there is none and the last column says so.
A method that sees unlabelled images or the names of new classes is marked as transductive, and in base-to-new tables
one that predicts base classes otherwise than new ones as told the half.
"""

from collections import defaultdict
from dataclasses import dataclass

from ..catalogue import DATASETS, METHODS, TRAINERS, learns
from .results import (
    BASE2NEW,
    FEW_SHOT,
    MISSING,
    base2new_cells,
    few_shot_cells,
    harmonic_mean,
    number,
    rank,
    same_seeds,
    shots_rank,
    shown_average,
    transfer_cells,
)

TRANSDUCTIVE, TOLD_HALF = " (transductive)", " (told the half)"


@dataclass
class Table:
    """Title, notes (sentences), column names and rows, all text; a cell that is a number is a `results.Number`."""

    title: str
    notes: list
    headers: list
    rows: list
    ranked: bool = False  # whether methods compete in it: the higher number of a column is the better one


def in_papers_order(trainers) -> list:
    """Names of trainers as the tables list them."""
    return sorted(trainers, key=lambda name: rank(TRAINERS, name))


def method_text(trainer: str) -> str:
    """A method, or one of its configs (trainer/config), as tables name it."""
    sees_more = any(row.transductive for row in METHODS if row.trainer == trainer.partition("/")[0])
    return trainer + TRANSDUCTIVE * sees_more


def seeds_text(cells: dict) -> str:
    """Which seeds have a result and which lack it: "1, 3 (2 missing)", "base 1, 2; new 1 (2 missing)".

    What more than half of the cells have comes first and without their names: "1, 2; dtd 1 (2 missing)".
    """
    groups = defaultdict(list)
    for name, cell in cells.items():
        lacks = f" ({numbers_text(cell.missing)} missing)" if cell.missing else ""
        groups[numbers_text(cell.by_seed) + lacks].append(name)
    texts = []
    for seeds, names in groups.items():
        if 2 * len(names) > len(cells):
            texts.insert(0, seeds)
        else:
            texts.append(f"{', '.join(names)} {seeds}")
    return "; ".join(texts)


def numbers_text(numbers) -> str:
    return ", ".join(map(str, numbers)) or MISSING


def leave_out(headers, rows, names=("folder", "shots", "config")) -> tuple:
    """Headers and rows without the columns in `names` that say the same in every row."""
    kept = [i for i, name in enumerate(headers) if name not in names or len({row[i] for row in rows}) > 1]
    return [headers[i] for i in kept], [[row[i] for i in kept] for row in rows]


def average_remark(cells_by_dataset):
    """What the last column says of an average over data sets, from {data set: {name: Cell}}."""
    remarks = []
    partial = [d for d, cells in cells_by_dataset.items() if any(c.missing and c.by_seed for c in cells.values())]
    if partial:
        remarks.append(f"seeds missing: {', '.join(partial)}")
    seeds = {d: set().union(*(c.by_seed for c in cells.values())) for d, cells in cells_by_dataset.items()}
    found = {d: numbers_text(sorted(of)) for d, of in seeds.items() if of}
    if len(set(found.values())) > 1:
        remarks.append("seeds differ: " + "; ".join(f"{d} {text}" for d, text in found.items()))
    return remarks


def _expected(methods, of):
    """The data sets of all methods that have one table in common (`of` a method's key), in the papers' order."""
    found = defaultdict(set)
    for method, datasets in methods.items():
        found[of(method)] |= set(datasets)
    return {group: sorted(names, key=lambda name: rank(DATASETS, name)) for group, names in found.items()}


# ---- base-to-new -------------------------------------------------------------------------------------------


def base2new_tables(runs) -> list:
    """One table, or none: base, new and H of every method on every data set, then their averages."""
    methods, mixed = base2new_cells(runs)
    datasets = _expected(methods, lambda method: method[:2])
    rows = []  # (sort key, cells of the row)
    for (root, shots, trainer, cfg), results in methods.items():
        place, order = (root, shots_rank(shots)), (rank(TRAINERS, trainer), cfg)
        for dataset, cells in results.items():
            halves = [cells["base"].shown, cells["new"].shown]
            h = _h(cells["base"].mean, cells["new"].mean) if same_seeds(cells) else MISSING
            row = [root, shots, dataset, _told(trainer), cfg, *halves, h, seeds_text(cells)]
            rows.append(((*place, 0, rank(DATASETS, dataset), *order), row))
        expected = datasets[root, shots]
        if len(expected) > 1:
            row = [root, shots, "average", _told(trainer), cfg, *_base2new_average(results, expected)]
            rows.append(((*place, 1, (0, ""), *order), row))
    if not rows:
        return []
    headers = ["folder", "shots", "data set", "method", "config", "base", "new", "H", "seeds"]
    notes = ["H: harmonic mean of the averaged base and new accuracies.", *mixed]
    return [Table(BASE2NEW, notes, *leave_out(headers, _sorted(rows)), ranked=True)]


def _told(trainer):
    """As `method_text`; base-to-new tables also say who profits from knowing which half an image is of."""
    return method_text(trainer) + TOLD_HALF * any(row.told_half for row in METHODS if row.trainer == trainer)


def _sorted(rows):
    return [row for _, row in sorted(rows)]


def _h(base, new):
    return number(harmonic_mean(base, new)) if base is not None and new is not None else MISSING


def _base2new_average(results, expected):
    """Base, new, H and remark over data sets; a half that one data set lacks has no average."""
    averages, remarks = [], [f"{len(expected)} data sets"]
    for half in ("base", "new"):
        lacking = [name for name in expected if name not in results or results[name][half].mean is None]
        if lacking:
            remarks.append(f"no {half}: {', '.join(lacking)}")
        averages.append(shown_average({} if lacking else {name: results[name][half] for name in expected}))
    alike = MISSING not in averages and all(map(same_seeds, results.values()))
    h = _h(*(half.value for half in averages)) if alike else MISSING
    results = {name: results[name] for name in expected if name in results}
    return [*averages, h, "; ".join(remarks + average_remark(results))]


# ---- cross-dataset and domain generalization ---------------------------------------------------------------


def transfer_tables(runs, shifted: bool) -> list:
    """One table per source: a row per method with the source, the targets and the targets' average."""
    found, mixed = transfer_cells(runs, shifted)
    return [_transfer_table(group, mixed) for group in found]


def _transfer_table(group, mixed):
    rows = []
    for (root, shots, trainer, cfg), cells in group.cells.items():
        tested = {target: cells[target] for target in group.targets}
        mean = shown_average(tested) if same_seeds(tested) else MISSING
        accuracies = [cell.shown for cell in cells.values()]
        key = (root, shots_rank(shots), rank(TRAINERS, trainer), cfg)
        due = {name: cell for name, cell in cells.items() if cell.by_seed or cell.missing}  # else no run is due there
        rows.append((key, [root, shots, method_text(trainer), cfg, *accuracies, mean, seeds_text(due)]))
    headers = ["folder", "shots", "method", "config", group.source or "source", *group.targets, "average", "seeds"]
    notes = ["Average: of the targets, without the source.", *mixed]
    return Table(group.title, notes, *leave_out(headers, _sorted(rows)), ranked=True)


# ---- few-shot ----------------------------------------------------------------------------------------------


def few_shot_tables(runs) -> list:
    """One table, or none: a row per data set and method with a column per number of shots, then averages."""
    methods, mixed = few_shot_cells(runs)
    datasets = _expected(methods, lambda method: method[0])
    rows, columns = [], []
    for (root, trainer, cfg), results in methods.items():
        order = (rank(TRAINERS, trainer), cfg)
        for dataset, cells in results.items():
            columns = list(cells)
            row = [root, dataset, method_text(trainer), cfg, *(c.shown for c in cells.values()), seeds_text(cells)]
            rows.append(((root, 0, rank(DATASETS, dataset), *order), row))
        expected = datasets[root]
        if len(expected) > 1:
            row = [root, "average", method_text(trainer), cfg, *_few_shot_average(results, expected)]
            rows.append(((root, 1, (0, ""), *order), row))
    if not rows:
        return []
    headers = ["folder", "data set", "method", "config", *columns, "seeds"]
    untrained = sorted({trainer for _, trainer, _ in methods if not learns(trainer)})
    notes = [f"{name} learns nothing: its result stands under every number of shots." for name in untrained]
    return [Table(FEW_SHOT, notes + mixed, *leave_out(headers, _sorted(rows)), ranked=True)]


def _few_shot_average(results, expected):
    """A mean per number of shots and a remark; what one data set lacks has no average."""
    columns = list(next(iter(results.values())))
    averages, remarks = [], [f"{len(expected)} data sets"]
    lacks = defaultdict(list)  # data sets -> columns that they lack
    for column in columns:
        lacking = [name for name in expected if name not in results or results[name][column].mean is None]
        if lacking:
            lacks[", ".join(lacking)].append(column)
        averages.append(shown_average({} if lacking else {name: results[name][column] for name in expected}))
    remarks += [f"no {', '.join(of)}: {names}" for names, of in lacks.items()]
    results = {name: results[name] for name in expected if name in results}
    return [*averages, "; ".join(remarks + average_remark(results))]
