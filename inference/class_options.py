"""The command-line options that name other classes than those of a run; tools/predict.py and export.py have them."""

import argparse
from typing import Optional

from dassl.utils import read_lines
from trainers.errors import UserError


def add_class_options(parser: argparse.ArgumentParser) -> None:
    names = parser.add_mutually_exclusive_group()
    names.add_argument("--classes", metavar='"A,B"', help="class names, with commas between")
    names.add_argument("--classes-file", metavar="FILE", help="class names, one a line")


def classes_of(args: argparse.Namespace) -> Optional[list[str]]:
    """The class names that were asked for; None for the run's. Raises UserError for none, and a file not to be read."""
    if args.classes is None and args.classes_file is None:
        return None
    if args.classes is not None:
        given, names = "--classes", [name.strip() for name in args.classes.split(",") if name.strip()]
    else:
        given = f'--classes-file "{args.classes_file}"'
        try:
            names = [name for _, name in read_lines(args.classes_file)]
        except ValueError as error:
            raise UserError(f"{given} cannot be read: {error}") from None
        if names and names[0][0] in "[{":
            raise UserError(f"{given} is a list of another form: write one class name a line, and nothing else.")
    if not names:
        raise UserError(f"{given} names no class: write one or more.")
    return names
