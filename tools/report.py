"""Base / new / H table of every base-to-new run below a folder.

    python tools/report.py output
    python tools/report.py output/base2new --format latex

Reads each run's metrics.json, or its log.txt if a fork of CoOp wrote the run. Accuracies are in percent,
mean ± standard deviation over seeds (population standard deviation, as CoOp's parse_test_res.py). H is the
harmonic mean of the averaged base and the averaged new accuracy, not the mean of each seed's H: that is how
CoCoOp and the papers since compute it; in the rows over several data sets, of the accuracies averaged over
these. What is missing stays visible: a dash, and the seeds column says which seeds or data sets have no
result. H needs both halves of the same seeds.
"""

import argparse
import re
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate, tabulate_formats

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tools.results import find_runs, mean_and_std

NOTE = (
    "Accuracy in %, mean ± standard deviation over seeds (population, as CoOp's parse_test_res.py).",
    "H: harmonic mean of the averaged base and new accuracies.",
)
MISSING = "—"
# The papers' order; anything else follows by name.
TRAINERS = "ZeroshotCLIP CoOp CoCoOp KgCoOp ProGrad MaPLe PromptSRC TCP SEP E2MIM".split()
DATASETS = (
    "imagenet caltech101 oxford_pets stanford_cars oxford_flowers food101 fgvc_aircraft sun397 dtd eurosat ucf101"
).split()


def harmonic_mean(base: float, new: float) -> float:
    """2 / (1/base + 1/new); 0 if either is 0."""
    return 2 * base * new / (base + new) if base and new else 0.0


@dataclass
class Cell:
    """One half of a row: accuracies by seed, and the seeds it should have but lacks."""

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


def make_cells(halves: dict) -> tuple[Cell, Cell]:
    """Base and new of one row, from {half: {seed: accuracy or None}}."""
    expected = set(halves["base"]) | set(halves["new"])
    if max(expected) <= 10:  # seeds are 1, 2, 3, ... by convention, so a hole is a missing run
        expected |= set(range(min(expected), max(expected)))
    cells = []
    for half in ("base", "new"):
        found = {seed: value for seed, value in sorted(halves[half].items()) if value is not None}
        cells.append(Cell(found, sorted(expected - set(found))))
    return tuple(cells)


def _numbers(numbers):
    return ", ".join(map(str, numbers)) or MISSING


def seeds_text(base: Cell, new: Cell) -> str:
    """Which seeds have a result and which lack it: "1, 3 (2 missing)", "base 1, 2; new 1 (2 missing)"."""

    def describe(cell):
        lacks = f" ({_numbers(cell.missing)} missing)" if cell.missing else ""
        return _numbers(cell.by_seed) + lacks

    if set(base.by_seed) == set(new.by_seed):
        return describe(base)
    return f"base {describe(base)}; new {describe(new)}"


def _h(base, new):
    return f"{harmonic_mean(base, new):.2f}" if base is not None and new is not None else MISSING


def _rank(order, name):
    return (order.index(name) if name in order else len(order), name.lower())


def _shots_rank(shots):
    return [int(digits) for digits in re.findall(r"\d+", shots)]


def make_table(runs) -> tuple[list, list]:
    """Headers and rows (lists of str); folder, shots and config are left out where they never differ."""
    grouped = defaultdict(lambda: {"base": {}, "new": {}})
    for run in runs:
        grouped[run.root, run.shots, run.dataset, run.trainer, run.cfg][run.half][run.seed] = run.accuracy

    # A method goes by its name alone, unless it has several configs on one data set.
    configs = defaultdict(set)
    for root, shots, dataset, trainer, cfg in grouped:
        configs[root, shots, dataset, trainer].add(cfg)
    several = {(key[0], key[1], key[3]) for key, names in configs.items() if len(names) > 1}

    rows = []  # (sort key, cells of the row)
    methods, datasets = defaultdict(dict), defaultdict(set)
    for (root, shots, dataset, trainer, cfg), halves in grouped.items():
        base, new = make_cells(halves)
        shown_cfg = cfg if (root, shots, trainer) in several else ""
        methods[root, shots, trainer, shown_cfg][dataset] = (base, new)
        datasets[root, shots].add(dataset)
        comparable = set(base.by_seed) == set(new.by_seed)
        h = _h(base.mean, new.mean) if comparable else MISSING
        key = (root, _shots_rank(shots), 0, _rank(DATASETS, dataset), _rank(TRAINERS, trainer), shown_cfg)
        row = [root, shots, dataset, trainer, shown_cfg, str(base), str(new), h, seeds_text(base, new)]
        rows.append((key, row))
    for (root, shots, trainer, cfg), results in methods.items():
        expected = sorted(datasets[root, shots], key=lambda name: _rank(DATASETS, name))
        if len(expected) > 1:
            key = (root, _shots_rank(shots), 1, (0, ""), _rank(TRAINERS, trainer), cfg)
            rows.append((key, [root, shots, "average", trainer, cfg, *_average(results, expected)]))

    headers = ["folder", "shots", "data set", "method", "config", "base", "new", "H", "seeds"]
    rows = [row for _, row in sorted(rows)]
    optional = {0, 1, 4}
    kept = [i for i in range(len(headers)) if i not in optional or len({row[i] for row in rows}) > 1]
    return [headers[i] for i in kept], [[row[i] for i in kept] for row in rows]


def _average(results, expected):
    """Base, new, H and remark over data sets; a half that one data set lacks has no average."""
    means, remarks = [], [f"{len(expected)} data sets"]
    for index, half in enumerate(("base", "new")):
        lacking = [name for name in expected if name not in results or results[name][index].mean is None]
        if lacking:
            remarks.append(f"no {half}: {', '.join(lacking)}")
        values = [] if lacking else [results[name][index].mean for name in expected]
        means.append(mean_and_std(values)[0] if values else None)
    partial = [name for name, cells in results.items() if any(c.missing and c.by_seed for c in cells)]
    if partial:
        remarks.append(f"seeds missing: {', '.join(partial)}")
    uneven = any(set(base.by_seed) != set(new.by_seed) for base, new in results.values())
    h = MISSING if uneven else _h(*means)
    return [*(MISSING if mean is None else f"{mean:.2f}" for mean in means), h, "; ".join(remarks)]


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="OUTPUT", help="folder with runs at any depth")
    parser.add_argument("--format", default="github", choices=tabulate_formats, metavar="NAME", help="of tabulate")
    args = parser.parse_args(argv)

    if not Path(args.folder).is_dir():
        print(f"error: no folder {args.folder}; give the folder that the scripts wrote to", file=sys.stderr)
        return 2
    runs, warnings = find_runs(args.folder)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if not runs:
        print(
            f"error: no base-to-new run below {args.folder}; train one with scripts/<method>/",
            file=sys.stderr,
        )
        return 1
    headers, rows = make_table(runs)
    comment = "% " if args.format.startswith("latex") else ""
    print("\n".join(comment + line for line in NOTE) + "\n")
    print(tabulate(rows, headers, tablefmt=args.format, disable_numparse=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
