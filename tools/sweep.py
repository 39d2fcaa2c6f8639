"""Run a grid of methods, data sets and seeds from a file of configs/sweeps/, and print its tables.

    python tools/sweep.py --config configs/sweeps/demo_full.yaml

What is finished is skipped, so the same command goes on where it was stopped. Environment: DATA, OUTPUT, FORCE and
SEEDS as for the scripts (harness/launch.py).
"""

import argparse
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import launch, sweep


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, metavar="FILE", help="a file of configs/sweeps/")
    args = parser.parse_args(argv)
    try:
        return sweep.run_file(args.config, os.environ)
    except (launch.Refused, FileNotFoundError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
