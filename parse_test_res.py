"""Mean and spread over seeds of one folder of runs, read from their logs. Same name and flags as CoOp's.

    python parse_test_res.py output/base2new/train_base/shapes/shots_16/SEP/shapes
    python parse_test_res.py output/base2new/test_new/shapes/shots_16/SEP/shapes --test-log
    python parse_test_res.py output/my_experiments --multi-exp

The folder holds one folder per seed, each with a log.txt (ours, or one that CoOp, MaPLe or another Dassl fork
wrote); with --multi-exp it holds several such folders. A seed without a result is named, and no number stands
for it. For base / new / H over many methods and data sets see tools/report.py.
"""

import argparse
import math
import os
import statistics
import sys
from pathlib import Path

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # which `python -P` leaves out
import harness.start  # noqa: F401  first, as it says what is missing

# isort: split
from harness.errors import UserError, exit_with
from harness.report.logs import TESTED, TRAINED, value_in_logs


def subfolders(directory):
    """The visible folders in a folder, by name. Raises FileNotFoundError if it has none."""
    directory = Path(directory)
    if not directory.is_dir():
        raise FileNotFoundError(f"no folder {directory}; give the folder that holds seed1, seed2, ...")
    found = sorted(path for path in directory.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not found:
        raise FileNotFoundError(f"{directory} holds no folders; give the folder that holds seed1, seed2, ...")
    return found


def summarise(directory, keyword="accuracy", signals=TRAINED, ci95=False):
    """Print every seed's value (percent) and mean +- spread; return the mean, None if no seed has a value.

    The spread is the population standard deviation, or with `ci95` 1.96 times that over sqrt(n), as in CoOp.
    """
    print(f"Parsing files in {directory}")
    values, missing = [], []
    for folder in subfolders(directory):
        value, source = value_in_logs(folder, keyword, signals)
        if value is None:
            missing.append(folder.name)
        else:
            values.append(value)
            print(f"file: {source}. {keyword}: {value:.2f}%. ")
    print("===")
    print(f"Summary of directory: {directory}")
    mean = None
    if values:
        mean, spread = statistics.fmean(values), statistics.pstdev(values)
        if ci95:
            spread = 1.96 * spread / math.sqrt(len(values))
        print(f"* {keyword}: {mean:.2f}% +- {spread:.2f}%")
    if missing:
        print(f"missing (no result in the log): {', '.join(missing)}")
    print("===")
    return mean


def summarise_all(directory, **options):
    """`summarise` every folder in a folder, print the mean of their means; return it, None without any."""
    means, missing = [], []
    for folder in subfolders(directory):
        try:
            mean = summarise(folder, **options)
        except FileNotFoundError:
            mean = None
        if mean is None:
            missing.append(folder.name)
        else:
            means.append(mean)
    print("Average performance")
    average = None
    if means:
        average = statistics.fmean(means)
        print(f"* {options['keyword']}: {average:.2f}%")
    if missing:
        print(f"missing (no result at all): {', '.join(missing)}")
    return average


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", help="folder that holds one folder per seed")
    parser.add_argument("--ci95", action="store_true", help="95%% confidence interval, not standard deviation")
    parser.add_argument("--test-log", action="store_true", help="the runs only tested (--eval-only)")
    parser.add_argument("--multi-exp", action="store_true", help="the folder holds several folders of seeds")
    parser.add_argument("--keyword", default="accuracy", help="which number: accuracy, error, macro_f1, ...")
    args = parser.parse_args(argv)

    signals = TESTED if args.test_log else TRAINED
    summary = summarise_all if args.multi_exp else summarise
    try:
        mean = summary(args.directory, keyword=args.keyword, signals=signals, ci95=args.ci95)
    except (FileNotFoundError, UserError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if mean is None:
        hint = "" if args.test_log else "; if these runs only tested, add --test-log"
        print(f"error: no log below {args.directory} holds a result for {args.keyword}{hint}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    exit_with(main)
