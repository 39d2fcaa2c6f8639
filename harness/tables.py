"""The papers' tables of a list of runs: base / new / H, cross-dataset, domain generalization, few-shot.

What is missing stays visible in all of them: a dash, and the last column says which seeds or data sets have no
result. H and the average over targets need the same seeds in all that they are made of. The rows "average" are
over the data sets' means and need every data set of the table; where their seeds differ, the last column says so.
"""

import re
import statistics
from collections import defaultdict
from dataclasses import dataclass

from .catalogue import DATASETS, DOMAIN_SHIFTS, TRAINERS, learns

MISSING = "—"


def mean_and_std(values) -> tuple:
    """Mean and population standard deviation (divided by n, as CoOp's parse_test_res.py does)."""
    values = list(values)
    return statistics.fmean(values), statistics.pstdev(values)


@dataclass
class Table:
    """Title, notes (sentences), column names and rows, all text."""

    title: str
    notes: list
    headers: list
    rows: list


@dataclass
class Cell:
    """Runs that differ in their seeds only: accuracies by seed, and the seeds it should have but lacks."""

    by_seed: dict
    missing: list

    @property
    def mean(self):
        return mean_and_std(self.by_seed.values())[0] if self.by_seed else None

    def __str__(self):
        if not self.by_seed:
            return MISSING
        mean, std = mean_and_std(self.by_seed.values())
        return f"{mean:.2f} ± {std:.2f}" if len(self.by_seed) > 1 else f"{mean:.2f}"


def make_cells(parts: dict) -> dict:
    """{name: Cell} of one row, from {name: {seed: accuracy or None}}: all should have the seeds that one has."""
    expected = set().union(*parts.values())
    if expected and max(expected) <= 10:  # seeds are 1, 2, 3, ... by convention, so a hole is a missing run
        expected |= set(range(min(expected), max(expected)))
    cells = {}
    for name, by_seed in parts.items():
        found = {seed: value for seed, value in sorted(by_seed.items()) if value is not None}
        cells[name] = Cell(found, sorted(expected - set(found)))
    return cells


def harmonic_mean(base: float, new: float) -> float:
    """2 / (1/base + 1/new); 0 if either is 0."""
    return 2 * base * new / (base + new) if base and new else 0.0


def unmix(runs) -> tuple:
    """The runs, without the results that must not be averaged, and a sentence for each group of those.

    Seeds may differ in nothing but the seed, and a test in nothing but the data set from the training whose model it
    tested. Runs whose settings are not on record cannot be told.
    """
    groups, trainings = defaultdict(list), {}
    for run in runs:
        groups[run._replace(seed=0).what].append(run)
        if run.part in ("base", "source"):
            trainings[_training(run, run.dataset)] = run
    kept, notes = [], []
    for group in groups.values():
        known = [run for run in group if run.settings and run.accuracy is not None]
        name = f"{group[0].trainer} on {group[0].dataset}"
        key = next((k for run in known[1:] for k in _differing(known[0], run, lambda k: k != "SEED")), None)
        if key:
            values = ", ".join(f"{run.settings.get(key)!r} in seed {run.seed}" for run in known)
            notes.append(f"{name}: {key} is {values}, so these are not averaged.")
            group = [run._replace(accuracy=None) if run in known else run for run in group]
        for run in group:
            trained = trainings.get(_training(run, run.source or run.dataset))
            if run.part in ("new", "target") and run.accuracy is not None and trained:
                for key in _differing(trained, run, _of_model)[:1]:
                    notes.append(
                        f"{name}, seed {run.seed}: {key} is {run.settings[key]!r} in the test, but "
                        f"{trained.settings[key]!r} in the training, so the test does not count."
                    )
                    run = run._replace(accuracy=None)
            kept.append(run)
    return kept, notes


def _training(run, dataset):
    return run.root, run.protocol, dataset, run.shots, run.trainer, run.cfg, run.seed


def _of_model(key):
    return not key.startswith(("DATASET.", "TEST.")) and key != "the test images"


def _differing(one, other, counts):
    both = one.settings.keys() & other.settings.keys()
    return sorted(k for k in both if counts(k) and one.settings[k] != other.settings[k])


def seeds_text(cells: dict) -> str:
    """Which seeds have a result and which lack it: "1, 3 (2 missing)", "base 1, 2; new 1 (2 missing)".

    What more than half of the cells have comes first and without their names: "1, 2; dtd 1 (2 missing)".
    """
    groups = defaultdict(list)
    for name, cell in cells.items():
        lacks = f" ({_numbers(cell.missing)} missing)" if cell.missing else ""
        groups[_numbers(cell.by_seed) + lacks].append(name)
    texts = []
    for seeds, names in groups.items():
        if 2 * len(names) > len(cells):
            texts.insert(0, seeds)
        else:
            texts.append(f"{', '.join(names)} {seeds}")
    return "; ".join(texts)


def average(cells: dict):
    """Mean of the cells' means; None if one has no result, or if there are none."""
    means = [cell.mean for cell in cells.values()]
    return mean_and_std(means)[0] if means and None not in means else None


def _same_seeds(cells):
    return len({tuple(cell.by_seed) for cell in cells.values()}) <= 1


def _number(value):
    return MISSING if value is None else f"{value:.2f}"


def _numbers(numbers):
    return ", ".join(map(str, numbers)) or MISSING


def in_papers_order(trainers) -> list:
    """Names of trainers as the tables list them."""
    return sorted(trainers, key=lambda name: _rank(TRAINERS, name))


def _rank(order, name):
    return (order.index(name) if name in order else len(order), name.lower())


def _shots_rank(shots):
    return [int(digits) for digits in re.findall(r"\d+", shots)]


def _shots_text(shots):
    return f"{shots} shot" if shots == "1" else f"{shots} shots"


def _with_config(runs, row, alike):
    """Pairs of run and config to show: none unless `row(run)` has several configs among runs of one `alike(run)`."""
    configs = defaultdict(set)
    for run in runs:
        configs[row(run), alike(run)].add(run.cfg)
    several = {of for (of, _), names in configs.items() if len(names) > 1}
    return [(run, run.cfg if row(run) in several else "") for run in runs]


def _leave_out(headers, rows, names=("folder", "shots", "config")):
    """Without the columns in `names` that say the same in every row."""
    kept = [i for i, name in enumerate(headers) if name not in names or len({row[i] for row in rows}) > 1]
    return [headers[i] for i in kept], [[row[i] for i in kept] for row in rows]


def _average_remark(cells_by_dataset):
    """What the last column says of an average over data sets, from {data set: {name: Cell}}."""
    remarks = []
    partial = [d for d, cells in cells_by_dataset.items() if any(c.missing and c.by_seed for c in cells.values())]
    if partial:
        remarks.append(f"seeds missing: {', '.join(partial)}")
    seeds = {d: set().union(*(c.by_seed for c in cells.values())) for d, cells in cells_by_dataset.items()}
    found = {d: _numbers(sorted(of)) for d, of in seeds.items() if of}
    if len(set(found.values())) > 1:
        remarks.append("seeds differ: " + "; ".join(f"{d} {text}" for d, text in found.items()))
    return remarks


# ---- base-to-new -------------------------------------------------------------------------------------------


def base2new_tables(runs) -> list:
    """One table, or none: base, new and H of every method on every data set, then their averages."""
    runs, mixed = unmix([run for run in runs if run.protocol == "base2new"])
    grouped = defaultdict(lambda: {"base": {}, "new": {}})
    datasets = defaultdict(set)
    for run, shown in _with_config(runs, lambda run: (run.root, run.shots, run.trainer), lambda run: run.dataset):
        grouped[run.root, run.shots, run.trainer, shown, run.dataset][run.part][run.seed] = run.accuracy
        datasets[run.root, run.shots].add(run.dataset)

    rows = []  # (sort key, cells of the row)
    methods = defaultdict(dict)
    for (root, shots, trainer, cfg, dataset), halves in grouped.items():
        cells = methods[root, shots, trainer, cfg][dataset] = make_cells(halves)
        h = _h(cells["base"].mean, cells["new"].mean) if _same_seeds(cells) else MISSING
        key = (root, _shots_rank(shots), 0, _rank(DATASETS, dataset), _rank(TRAINERS, trainer), cfg)
        halves = [str(cells["base"]), str(cells["new"])]
        rows.append((key, [root, shots, dataset, trainer, cfg, *halves, h, seeds_text(cells)]))
    for (root, shots, trainer, cfg), results in methods.items():
        expected = sorted(datasets[root, shots], key=lambda name: _rank(DATASETS, name))
        if len(expected) > 1:
            key = (root, _shots_rank(shots), 1, (0, ""), _rank(TRAINERS, trainer), cfg)
            rows.append((key, [root, shots, "average", trainer, cfg, *_base2new_average(results, expected)]))
    if not rows:
        return []
    headers = ["folder", "shots", "data set", "method", "config", "base", "new", "H", "seeds"]
    notes = ["H: harmonic mean of the averaged base and new accuracies.", *mixed]
    return [Table("Base-to-new", notes, *_leave_out(headers, [row for _, row in sorted(rows)]))]


def _h(base, new):
    return f"{harmonic_mean(base, new):.2f}" if base is not None and new is not None else MISSING


def _base2new_average(results, expected):
    """Base, new, H and remark over data sets; a half that one data set lacks has no average."""
    means, remarks = [], [f"{len(expected)} data sets"]
    for half in ("base", "new"):
        lacking = [name for name in expected if name not in results or results[name][half].mean is None]
        if lacking:
            remarks.append(f"no {half}: {', '.join(lacking)}")
        means.append(None if lacking else average({name: results[name][half] for name in expected}))
    h = _h(*means) if all(map(_same_seeds, results.values())) else MISSING
    results = {name: results[name] for name in expected if name in results}
    return [*map(_number, means), h, "; ".join(remarks + _average_remark(results))]


# ---- cross-dataset and domain generalization ---------------------------------------------------------------


def transfer_tables(runs, shifted: bool) -> list:
    """One table per source: a row per method with the source, the targets and the targets' average.

    `shifted` takes the targets that are domain shifts of the source, otherwise all others. A run without a
    source (zero-shot CLIP, or a test that was interrupted) stands beside each source that its target was
    tested for, or beside every source if that is none.
    """
    runs, mixed = unmix([run for run in runs if run.protocol == "xd"])
    sources_of = defaultdict(set)  # target -> sources
    for run in runs:
        if run.part == "target" and run.source:
            sources_of[run.dataset].add(run.source)
    tables = []
    for source in sorted({run.source for run in runs if run.source} or {""}, key=lambda name: _rank(DATASETS, name)):
        own = [r for r in runs if source in ({r.source} if r.source else sources_of[r.dataset] or {source})]
        # Without any source, a shift of whatever is one
        shifts = DOMAIN_SHIFTS.get(source, []) if source else sum(DOMAIN_SHIFTS.values(), [])
        targets = sorted({run.dataset for run in own} - {source}, key=lambda name: _rank(DATASETS + shifts, name))
        wanted = [target for target in targets if (target in shifts) == shifted]
        if wanted or (own and not targets and not shifted):  # the source alone is shown once
            tables.append(_transfer_table(source, wanted, own, shifted, mixed))
    return tables


def _transfer_table(source, targets, runs, shifted, mixed):
    columns = [source or "source", *targets]
    grouped = defaultdict(lambda: {column: {} for column in columns})
    runs = [run for run in runs if run.part == "source" or run.dataset in targets]
    # One model is tested on all targets, so two configs never share a row
    for run, shown in _with_config(runs, lambda run: (run.root, run.shots, run.trainer), lambda run: None):
        grouped[run.root, run.shots, run.trainer, shown][run.dataset][run.seed] = run.accuracy
    rows = []
    for (root, shots, trainer, cfg), parts in grouped.items():
        cells = make_cells(parts)
        tested = {target: cells[target] for target in targets}
        mean = _number(average(tested)) if _same_seeds(tested) else MISSING
        key = (root, _shots_rank(shots), _rank(TRAINERS, trainer), cfg)
        rows.append((key, [root, shots, trainer, cfg, *map(str, cells.values()), mean, seeds_text(cells)]))
    headers = ["folder", "shots", "method", "config", *columns, "average", "seeds"]
    title = "Domain generalization" if shifted else "Cross-dataset"
    title += f", trained on {source}" if source else ""
    notes = ["Average: of the targets, without the source.", *mixed]
    return Table(title, notes, *_leave_out(headers, [row for _, row in sorted(rows)]))


# ---- few-shot ----------------------------------------------------------------------------------------------


def few_shot_tables(runs) -> list:
    """One table, or none: a row per data set and method with a column per number of shots, then averages."""
    runs, mixed = unmix([run for run in runs if run.protocol == "few_shot"])
    columns = sorted({run.shots for run in runs}, key=_shots_rank)
    grouped = defaultdict(lambda: {shots: {} for shots in columns})
    datasets = defaultdict(set)
    for run, shown in _with_config(runs, lambda run: (run.root, run.trainer), lambda run: (run.dataset, run.shots)):
        grouped[run.root, run.trainer, shown, run.dataset][run.shots][run.seed] = run.accuracy
        datasets[run.root].add(run.dataset)

    rows = []
    methods = defaultdict(dict)
    for (root, trainer, cfg, dataset), by_shots in grouped.items():
        cells = make_cells(by_shots if learns(trainer) else _same_for_all_shots(by_shots))
        cells = {_shots_text(shots): cell for shots, cell in cells.items()}
        methods[root, trainer, cfg][dataset] = cells
        key = (root, 0, _rank(DATASETS, dataset), _rank(TRAINERS, trainer), cfg)
        rows.append((key, [root, dataset, trainer, cfg, *map(str, cells.values()), seeds_text(cells)]))
    for (root, trainer, cfg), results in methods.items():
        expected = sorted(datasets[root], key=lambda name: _rank(DATASETS, name))
        if len(expected) > 1:
            key = (root, 1, (0, ""), _rank(TRAINERS, trainer), cfg)
            rows.append((key, [root, "average", trainer, cfg, *_few_shot_average(results, expected)]))
    if not rows:
        return []
    headers = ["folder", "data set", "method", "config", *map(_shots_text, columns), "seeds"]
    untrained = sorted(name for name in {run.trainer for run in runs} if not learns(name))
    notes = [f"{name} learns nothing: its result stands under every number of shots." for name in untrained]
    return [Table("Few-shot", notes + mixed, *_leave_out(headers, [row for _, row in sorted(rows)]))]


def _same_for_all_shots(by_shots):
    """All columns of a method that learns nothing, from those that were run; unchanged if they contradict."""
    results = {}
    for by_seed in by_shots.values():
        for seed, accuracy in by_seed.items():
            if accuracy is None:
                results.setdefault(seed, None)
            elif results.get(seed) in (None, accuracy):
                results[seed] = accuracy
            else:
                return by_shots
    return {shots: results for shots in by_shots}


def _few_shot_average(results, expected):
    """A mean per number of shots and a remark; what one data set lacks has no average."""
    columns = list(next(iter(results.values())))
    means, remarks = [], [f"{len(expected)} data sets"]
    lacks = defaultdict(list)  # data sets -> columns that they lack
    for column in columns:
        lacking = [name for name in expected if name not in results or results[name][column].mean is None]
        if lacking:
            lacks[", ".join(lacking)].append(column)
        means.append(None if lacking else average({name: results[name][column] for name in expected}))
    remarks += [f"no {', '.join(of)}: {names}" for names, of in lacks.items()]
    results = {name: results[name] for name in expected if name in results}
    return [*map(_number, means), "; ".join(remarks + _average_remark(results))]
