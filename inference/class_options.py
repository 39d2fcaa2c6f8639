"""The command-line options that name other classes than those of a run; tools/predict.py and export.py have them."""

import argparse
from pathlib import Path
from typing import Optional

from trainers.errors import UserError


def add_class_options(parser: argparse.ArgumentParser) -> None:
    names = parser.add_mutually_exclusive_group()
    names.add_argument("--classes", metavar='"A,B"', help="class names, with commas between")
    names.add_argument("--classes-file", metavar="FILE", help="class names, one a line")


def classes_of(args: argparse.Namespace) -> Optional[list[str]]:
    """The class names that were asked for; None for the run's. Raises UserError for a file that cannot be read."""
    if args.classes_file:
        try:
            lines = Path(args.classes_file).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f'--classes-file "{args.classes_file}" cannot be read ({error}).') from None
        return [line.strip() for line in lines if line.strip()]
    return None if args.classes is None else [name.strip() for name in args.classes.split(",") if name.strip()]
