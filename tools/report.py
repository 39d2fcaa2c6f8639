"""The papers' tables of every run below a folder.

    python tools/report.py output
    python tools/report.py output --protocol xd --format latex

Protocols, each printed if it has runs: base-to-new (base2new), cross-dataset (xd), domain generalization (dg),
few-shot (few_shot). Reads each run's metrics.json, or the log.txt of a base-to-new run that a fork of CoOp made.
Accuracies are in percent, mean ± standard deviation over seeds (population standard deviation, as CoOp's
parse_test_res.py). H is the harmonic mean of the averaged base and the averaged new accuracy, not the mean of
each seed's H: that is how CoCoOp and the papers since compute it; in the rows over several data sets, of the
accuracies averaged over these. What is missing stays visible: a dash, and the seeds column says which seeds or
data sets have no result. H needs both halves of the same seeds, and the average over targets all targets of the
same seeds; the rows "average" need every data set of their table, and say so if their seeds differ.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

from tabulate import tabulate, tabulate_formats

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from harness.layout import find_runs
from harness.tables import base2new_tables, few_shot_tables, transfer_tables

NOTE = "Accuracy in %, mean ± standard deviation over seeds (population, as CoOp's parse_test_res.py)."
PROTOCOLS = {  # option -> (name, tables of a list of runs)
    "base2new": ("base-to-new", base2new_tables),
    "xd": ("cross-dataset", partial(transfer_tables, shifted=False)),
    "dg": ("domain-generalization", partial(transfer_tables, shifted=True)),
    "few_shot": ("few-shot", few_shot_tables),
}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="OUTPUT", help="folder with runs at any depth")
    parser.add_argument("--protocol", default="all", choices=[*PROTOCOLS, "all"], help="only this one's tables")
    parser.add_argument("--format", default="github", choices=tabulate_formats, metavar="NAME", help="of tabulate")
    args = parser.parse_args(argv)

    if not Path(args.folder).is_dir():
        print(f"error: no folder {args.folder}; give the folder that the scripts wrote to", file=sys.stderr)
        return 2
    runs, warnings = find_runs(args.folder)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    chosen = list(PROTOCOLS.values()) if args.protocol == "all" else [PROTOCOLS[args.protocol]]
    tables = [table for _, make_tables in chosen for table in make_tables(runs)]
    if not tables:
        kind = f"{chosen[0][0]} run" if len(chosen) == 1 else "run"
        print(f"error: no {kind} below {args.folder}; make one with scripts/<method>/", file=sys.stderr)
        return 1
    comment = "% " if args.format.startswith("latex") else ""
    heading = comment or ("## " if args.format in ("github", "pipe") else "")
    print(comment + NOTE)
    for table in tables:
        print("\n" + "\n".join([heading + table.title, *(comment + note for note in table.notes)]) + "\n")
        print(tabulate(table.rows, table.headers, tablefmt=args.format, disable_numparse=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
