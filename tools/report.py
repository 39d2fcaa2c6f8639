"""The papers' tables of every run below a folder, and what they are worth.

    python tools/report.py output
    python tools/report.py output --protocol xd --format latex
    python tools/report.py output --compare SEP --with CoOp
    python tools/report.py output --compare SEP --with all
    python tools/report.py output --published
    python tools/report.py output --cost
    python tools/report.py output --html output/report.html

Protocols, each printed if it has runs: base-to-new (base2new), its joint test (joint), cross-dataset (xd), domain
generalization (dg), few-shot (few_shot). Reads each run's metrics.json, or the log.txt of a base-to-new run that a
fork of CoOp made.
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

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import harness.start  # noqa: F401  first, as it says what is missing

# isort: split
from harness.errors import UserError, exit_with, fail
from harness.report.cost import cost_tables
from harness.report.fairness import fairness_tables
from harness.report.formats import FORMATS, render
from harness.report.leave_one_out import leave_one_out_tables
from harness.report.measure_tables import calibration_tables, class_tables, joint_tables
from harness.report.published import published_tables, read_published
from harness.report.runs import find_runs
from harness.report.tables import base2new_tables, few_shot_tables, in_papers_order, transfer_tables

NOTE = "Accuracy in %, mean ± standard deviation over seeds (population, as CoOp's parse_test_res.py)."
MEASURE_NOTE = "Mean ± standard deviation over seeds."
COST_NOTE = "From the metrics.json of finished training runs."
PROTOCOLS = {  # option -> (name, tables of a list of runs)
    "base2new": ("base-to-new", base2new_tables),
    "joint": ("joint base-to-new", joint_tables),
    "xd": ("cross-dataset", partial(transfer_tables, shifted=False)),
    "dg": ("domain-generalization", partial(transfer_tables, shifted=True)),
    "few_shot": ("few-shot", few_shot_tables),
}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="OUTPUT", help="folder with runs at any depth")
    parser.add_argument("--protocol", default="all", choices=[*PROTOCOLS, "all"], help="only this one's tables")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        metavar="NAME",
        help="markdown or latex (the best bold, the second underlined), csv, json, or another of tabulate (github)",
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--compare", metavar="METHOD", help="instead: its differences to the method of --with")
    instead.add_argument("--published", action="store_true", help="instead: published numbers beside ours")
    instead.add_argument("--cost", action="store_true", help="instead: seconds, memory and parameters of training")
    instead.add_argument("--calibration", action="store_true", help="instead: how sure the models are, and rightly")
    instead.add_argument(
        "--classes", action="store_true", help="instead: recall over classes, and of the worst of them"
    )
    instead.add_argument("--fairness", action="store_true", help="instead: what the comparison of methods leaves out")
    instead.add_argument("--leave-one-out", action="store_true", help="instead: averages without each data set in turn")
    instead.add_argument("--html", metavar="FILE", help="instead: all there is to see, as one page for a browser")
    parser.add_argument("--with", dest="other", metavar="METHOD", help="with --compare: the other one, or all")
    parser.add_argument("--bins", type=int, metavar="N", help="with --calibration: of ECE (as recorded: 15)")
    parser.add_argument(
        "--figure", metavar="FILE", help="with --calibration: reliability diagrams, as .svg, .png or .pdf"
    )
    args = parser.parse_args(argv)
    if (args.compare is None) != (args.other is None) or args.compare == args.other is not None:
        parser.error("--compare and --with name two methods, one each")
    if not args.calibration and (args.bins is not None or args.figure):
        parser.error("--bins and --figure go with --calibration")
    if args.bins is not None and not 1 <= args.bins <= 1000:
        parser.error(f"--bins is a whole number from 1 to 1000, not {args.bins}")
    if args.html and args.format:
        parser.error("--html writes a page, which has no --format")

    if not Path(args.folder).is_dir():
        print(f"error: no folder {args.folder}; give the folder that the scripts wrote to", file=sys.stderr)
        return 2
    runs, warnings = find_runs(args.folder)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    protocols = list(PROTOCOLS) if args.protocol == "all" else [args.protocol]
    try:
        tables = _tables(args, runs, protocols)
    except UserError as error:
        return fail(error, 2)
    if not tables:
        kind = f"{PROTOCOLS[args.protocol][0]} run" if len(protocols) == 1 else "run"
        print(f"error: no {kind} below {args.folder}; make one with scripts/<method>/", file=sys.stderr)
        return 1
    if args.html:
        return _write_page(args, runs, warnings, protocols)
    print(render(tables, _note(args, runs), args.format or "github"))
    return _draw_reliability(args, runs) if args.figure else 0


def _note(args, runs):
    if args.cost or args.fairness:
        return COST_NOTE
    return MEASURE_NOTE if args.calibration or args.classes else NOTE + _imported(runs)


def _imported(runs):
    """What is to be said of models that were not trained here."""
    names = in_papers_order({run.trainer for run in runs if run.imported and run.accuracy is not None})
    return f" Tested here, but trained by their public code (imported): {', '.join(names)}." if names else ""


def _tables(args, runs, protocols):
    """What is asked for, of the protocols. Raises UserError."""
    if args.compare:
        return _compared(args, runs, protocols)
    if args.published:
        sources = read_published()
        return [table for name in protocols for table in published_tables(runs, name, sources)]
    if args.cost:
        tables = cost_tables(_of_protocols(runs, protocols))
        if runs and not tables:
            raise UserError(f"no training run below {args.folder} has its seconds on record in metrics.json")
        return tables
    if args.calibration:
        return calibration_tables(_of_protocols(runs, protocols), args.bins)
    if args.classes:
        runs = _of_protocols(runs, protocols)
        from harness.report.broken_classes import broken_tables  # NumPy takes a moment to import

        return [*class_tables(runs), *broken_tables(runs)]
    if args.leave_one_out:
        tables = [table for name in protocols for table in leave_one_out_tables(runs, name)]
        if runs and not tables:
            raise UserError(f"no method below {args.folder} has results on several data sets, so there is no average")
        return tables
    if args.fairness:
        return fairness_tables(_of_protocols(runs, protocols))
    return [table for name in protocols for table in PROTOCOLS[name][1](runs)]


def _of_protocols(runs, protocols):
    """The runs of some protocols, of which two may test the same models."""
    wanted = {{"dg": "xd", "joint": "base2new"}.get(name, name) for name in protocols}
    return [run for run in runs if run.protocol in wanted]


def _draw_reliability(args, runs):
    from harness.report.page.charts import save_reliability  # matplotlib takes a second to import
    from harness.report.page.view import reliability_bins

    save_reliability(args.figure, reliability_bins(runs, args.bins))
    print(f"\n{args.figure}", file=sys.stderr)
    return 0


def _write_page(args, runs, warnings, protocols):
    from harness.report.page import write_page  # matplotlib takes a second to import

    runs = _of_protocols(runs, protocols)
    write_page(args.html, args.folder, runs, warnings, {name: PROTOCOLS[name][1](runs) for name in protocols})
    print(args.html)
    return 0


def _compared(args, runs, protocols):
    from harness.report.comparison import ALL, compare_tables  # scipy takes a second to import

    protocols = [*protocols, *["calibration"] * (args.protocol == "all")]
    tables = [table for name in protocols for table in compare_tables(runs, name, args.compare, args.other)]
    names = in_papers_order({run.trainer for run in runs})
    for method in (args.compare, args.other):
        if names and method != ALL and method.partition("/")[0] not in names:
            raise UserError(f"no run of {method} below {args.folder}; there are {', '.join(names)}")
    if names and not tables:
        raise UserError(f"{args.compare} and {args.other} have no data set in common in a table of {args.folder}")
    return tables


if __name__ == "__main__":
    exit_with(main)
