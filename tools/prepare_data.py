"""Get the public data sets, and see what is there.

    python tools/prepare_data.py list                   what is there, and how to get the rest
    python tools/prepare_data.py get caltech101 dtd     download, verify, unpack and lay out; `get all` takes all
    python tools/prepare_data.py check caltech101       count every class against the split, decode a sample

The folder of the data sets is --root, or DATA in the environment, or data in the checkout. An interrupted get goes on
where it was when it is run again. Exit code: 0 all is well; 1 something is missing or wrong; 2 wrong arguments.
"""

import argparse
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import harness.start  # first, as it says what is missing

# isort: split
from tabulate import tabulate

from datasets.prepare.check import class_rows, summary
from datasets.prepare.get import BY_HAND, get
from datasets.prepare.state import NAMES, PARTS, Found, known
from harness.catalogue import OWN_DATASETS
from harness.errors import exit_with

REPOSITORY = harness.start.ROOT


def _table(rows, headers):
    print(tabulate(rows, headers, tablefmt="github", disable_numparse=True))


def list_all(root):
    rows = []
    for name in NAMES:
        found = Found(name, root)
        how = f"by hand: DATASETS.md, {found.loader.__name__}" if name == BY_HAND else f"get {name}"
        lacks = "; ".join(found.lacks) if found.state == "incomplete" else ""
        rows.append([name, found.state, lacks, found.folder, "" if found.state == "complete" else how])
    rows += [[own.name, "your own", "", own.home, ""] for own in OWN_DATASETS.values()]
    _table(rows, ["name", "state", "what is missing", "folder", "how to get it"])
    print("The data sets named shapes are drawn at first use.")
    return 0


def check(names, root, sample, show_classes):
    found = [Found(name, root) for name in names or NAMES]
    if not names:
        found = [f for f in found if f.state != "absent"]
        if not found:
            print(f"error: {root} holds none of the data sets: get one with tools/prepare_data.py get", file=sys.stderr)
            return 1
    rows, problems = [], []
    for f in found:
        rows.append(summary(f, sample, problems))
        classes = class_rows(f, show_classes)
        if classes:
            print(f"{f.loader.__name__}: images by class")
            _table(classes, ["label", "class", *PARTS])
            print()
    _table(rows, ["data set", "classes", *PARTS, "missing", "not in the split", "decoded", "result"])
    for f in found:
        if f.origin:
            print(f"{f.loader.__name__}: {f.origin}.")
    for problem in problems:
        print(problem)
    return 1 if problems else 0


def parse_args(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = argparse.ArgumentParser(add_help=False)
    root.add_argument("--root", default=os.environ.get("DATA") or os.path.join(REPOSITORY, "data"), metavar="DATA")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", parents=[root], help="what is there, what is missing, and how to get it")
    command = commands.add_parser("check", parents=[root], help="count every class against the split, decode a sample")
    command.add_argument("names", nargs="*", metavar="NAME", help="data sets; without any, all that are there")
    command.add_argument("--sample", type=int, default=3, help="images of each class to decode (default: 3)")
    command.add_argument("--classes", action="store_true", help="show every class, not only those that lack images")
    command = commands.add_parser("get", parents=[root], help="download, verify, unpack and lay out")
    command.add_argument("names", nargs="+", metavar="NAME", help="data sets, or all")
    command.add_argument("--source", choices=["mirror", "original"], help="only from there (default: both, in turn)")
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)
    try:
        names = getattr(args, "names", [])  # `list` has none
        names = NAMES if names == ["all"] else [known(name) for name in names]
    except ValueError as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    try:
        root = os.path.abspath(os.path.expanduser(args.root))
        if args.command == "get":
            return get(names, root, args.source)
        return list_all(root) if args.command == "list" else check(names, root, args.sample, args.classes)
    except KeyboardInterrupt:
        print("\ninterrupted; what has come is kept, and the same command goes on from there", file=sys.stderr)
        return 130
    except (ValueError, OSError) as e:
        where = f": {e.filename}" if isinstance(e, OSError) and e.errno and e.filename else ""
        print(f"error: {e.strerror if where else e}{where}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    exit_with(main)
