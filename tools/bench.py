"""Measure what things cost: time in turns within one run, memory in a fresh process.

python tools/bench.py step     one optimisation step of every trainer on Shapes' base classes
python tools/bench.py store    evaluations and epochs with and without stored image features
python tools/bench.py budget   hours of a method's whole base-to-new table
python tools/bench.py predict  pictures a second of tools/predict.py, its reading and its model
python tools/bench.py data     ImageNet's list of files, 1.33 million of them; --pictures: what reading them costs
python tools/bench.py harness  a sweep of 300 runs that do nothing, a report over 3,000 finished ones

Where ways are compared, ratios hold on other machines; milliseconds do not. --json, in front of the subject, prints
the numbers for a program.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import harness.start  # noqa: F401  first, as it says what is missing

# isort: split
from benchmarks import budget, data, harness, predict, step, store
from harness.errors import exit_with

SUBJECTS = {m.__name__.split(".")[1]: m for m in (step, store, budget, predict, data, harness)}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON, not as a table")
    subjects = parser.add_subparsers(required=True)
    for name, subject in SUBJECTS.items():
        own = subjects.add_parser(name, help=subject.measure.__doc__)
        subject.add_arguments(own)
        own.set_defaults(measure=subject.measure)
    args = parser.parse_args(argv)
    table = args.measure(args)
    print(table.json() if args.json else table.text())
    return 0


if __name__ == "__main__":
    exit_with(main)
