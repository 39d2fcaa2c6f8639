"""Look at all that decides on a number before a method is trained: environment, weights, data and disks.

    python tools/doctor.py                                           what is there below DATA, with ViT-B/16
    python tools/doctor.py --data data --backbone shapes-tiny        the bundled data and weights
    python tools/doctor.py --datasets caltech101 dtd --compute --reference

Each line is ok, a note, or a fault with what to do about it. It takes seconds and needs no network. --compute (ten
minutes at most on a GPU) measures a step of every method on this device, and compares its numbers with the CPU's.
--reference tests zero-shot CLIP on every data set that is there, and compares with the published numbers.

It writes a page into DATA and OUTPUT (from the environment; default: output in the checkout) and takes it away; of
ImageNet it keeps the list of files in the data set's folder, as every run does; --compute and --reference use $TMPDIR.

Exit code: 0 no fault; 1 a fault; 2 wrong arguments.
"""

import argparse
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import harness.start  # first, as it says what is missing

# isort: split
from doctor.disks import BUNDLED_LEARNED, LEARNED, disks
from doctor.environment import environment
from doctor.findings import FAULT, NOTE, Finding, findings_of
from harness.catalogue import BUNDLED, METHODS
from harness.errors import exit_with, fail

BACKBONE, BUNDLED_BACKBONE = "ViT-B/16", "shapes-tiny"


class Report:
    """Prints findings and tables as they come, or, for a program, all of them at the end."""

    def __init__(self, as_json):
        self.as_json, self.findings, self.tables = as_json, [], []

    def add(self, findings):
        for finding in findings:
            self.findings.append(finding)
            self._print(finding.line())

    def show(self, table):
        self.tables.append(table)
        self._print(f"\n{table.text()}\n")

    def end(self):
        """Print what is left, and return the exit code."""
        faults, notes = (sum(f.level == level for f in self.findings) for level in (FAULT, NOTE))
        if self.as_json:
            content = {
                "findings": [f._asdict() for f in self.findings],
                "tables": [json.loads(t.json()) for t in self.tables],
            }
            print(json.dumps(content, indent=2))
        self._print(f"{_number(faults, 'fault')}, {_number(notes, 'note')}")
        return 1 if faults else 0

    def _print(self, text):
        if not self.as_json:
            print(text, flush=True)


def _number(n, what):
    return f"{n or 'no'} {what}" + "s" * (n != 1)


def examine(args, report):
    report.add(environment())
    if any(f.level == FAULT and f.check in ("torch", "clip", "packages") for f in report.findings):
        report.add([Finding(NOTE, "weights, data", "not looked at, as that needs all packages")])
        return report.end()
    from doctor.data import data, find
    from doctor.weights import weights

    found = find(args.datasets, args.data)
    names = [one.name for one in found]
    backbone = args.backbone or (BUNDLED_BACKBONE if names and set(names) <= set(BUNDLED) else BACKBONE)
    report.add(findings_of("weights", weights, backbone))
    if not found:
        get = "python tools/prepare_data.py get caltech101, or set DATA"
        report.add([Finding(FAULT, "data", f"{args.data} holds none of the data sets", get)])
    for one in found:
        report.add(findings_of(f"data, {one.name}", data, one, args.data))
    tested = sum(len(one.items.get("test", ())) for one in found)
    learned = BUNDLED_LEARNED if backbone == BUNDLED_BACKBONE else LEARNED
    report.add(disks(args.data, args.output, len(found), tested, learned))
    complete = [one for one in found if one.state == "complete"]
    if args.reference:
        from doctor.reference import reference

        for one in complete:
            report.add(findings_of(f"reference, {one.name}", reference, one.name, args.data, backbone))
    if args.compute:
        from doctor.compute import compute
        from doctor.data import some_pictures

        for found in compute(args.methods, args.geometry, some_pictures(complete)):
            report.add([found]) if isinstance(found, Finding) else report.show(found)
    return report.end()


def parse_args(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = os.environ.get("DATA") or os.path.join(harness.start.ROOT, "data")
    parser.add_argument("--data", default=root, metavar="DATA", help="folder of the data sets (default: %(default)s)")
    parser.add_argument("--datasets", nargs="+", default=[], metavar="NAME", help="default: all that are there")
    parser.add_argument(
        "--backbone", metavar="NAME", help=f"default: {BACKBONE}; {BUNDLED_BACKBONE}, if all data sets are drawn here"
    )
    parser.add_argument("--compute", action="store_true", help="measure a step of every method on this device")
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="of --compute: folders of scripts/ (default: all)")
    parser.add_argument(
        "--geometry", choices=["true", "tiny"], default="true", help="of --compute: ViT-B/16's, or a toy of its depth"
    )
    parser.add_argument("--reference", action="store_true", help="test zero-shot CLIP on every data set that is there")
    parser.add_argument("--json", action="store_true", help="print all of it for a program")
    args = parser.parse_args(argv)
    unknown = sorted(set(args.methods or []) - {method.folder for method in METHODS})
    if unknown:
        parser.error(f"--methods: there is no scripts/{unknown[0]}/")
    args.methods = [method for method in METHODS if not args.methods or method.folder in args.methods]
    output = os.environ.get("OUTPUT") or os.path.join(harness.start.ROOT, "output")
    args.data, args.output = (os.path.abspath(os.path.expanduser(folder)) for folder in (args.data, output))
    return args


def main(argv=None):
    args = parse_args(argv)
    try:
        return examine(args, Report(args.json))
    except Exception as error:
        return fail(error, 2)


if __name__ == "__main__":
    exit_with(main)
