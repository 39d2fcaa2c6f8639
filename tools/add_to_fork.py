"""Put SEP and E2MIM, or other methods of this repository, into your fork of CoOp, and take them out again.

    python tools/add_to_fork.py ../CoOp                     SEP and E2MIM
    python tools/add_to_fork.py ../CoOp --trainers TCP      another method, beside what is there
    python tools/add_to_fork.py ../CoOp --trainers Mine --methods-from FOLDER    one of your own
    python tools/add_to_fork.py ../CoOp --dry-run           say what would be done, and do nothing
    python tools/add_to_fork.py ../CoOp --remove            undo all of it

What is added: a package trainers/prompt_methods/, configs/trainers/<Trainer>/, scripts/<trainer>/ and one or two lines
in train.py. docs/forks.md has more, and which forks it was tried on.
"""

import argparse
import shlex
import sys
from pathlib import Path

if sys.version_info < (3, 9):  # noqa: UP036  a fork's environment may be older
    sys.exit("error: this command needs Python 3.9 or newer, and nothing else; what it adds runs on Python 3.8 too")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import harness.start  # noqa: F401  first, as it says what is missing

# isort: split
from harness.catalogue import TRAINERS
from harness.errors import UserError, exit_with, fail
from harness.forks import install, troubles
from harness.forks.train_file import NoPlace
from harness.forks.tree import dataset_configs


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fork", metavar="FORK", type=Path, help="folder of the fork, or the one above it")
    parser.add_argument(
        "--trainers", nargs="+", metavar="NAME", help=f"SEP E2MIM by default; there are {', '.join(TRAINERS)}"
    )
    parser.add_argument(
        "--name",
        action="append",
        type=_pair,
        metavar="NAME=NEW",
        help="call it otherwise, where the fork has that name",
    )
    parser.add_argument("--remove", action="store_true", help="take away all that this command has added")
    parser.add_argument("--dry-run", action="store_true", help="write nothing")
    parser.add_argument("--dirty", action="store_true", help="go on although the fork has uncommitted changes")
    args = parser.parse_args(argv)
    trainers, code = args.trainers or install.DEFAULT, 2
    try:
        if args.remove:
            changes = install.remove(args.fork)
        else:
            changes = install.add(args.fork, trainers, dict(args.name or []), args.dirty)
        code = 1  # of what is the disk's
        if not args.dry_run:
            changes.carry_out()
    except UserError as error:
        fail(error, code)
        if isinstance(error, NoPlace) and not args.remove:
            print("By hand:", *install.steps_by_hand(trainers), sep="\n  - ", file=sys.stderr)
        return code
    except OSError as error:
        print(
            f"error: {error.filename} cannot be changed ({error.strerror}): mend that, then try again", file=sys.stderr
        )
        return 1
    _report(changes, args)
    return 0


def _pair(text):
    name, equals, new = text.partition("=")
    if not (name and equals and new):
        raise argparse.ArgumentTypeError(f'"{text}" is not NAME=NEW, such as SEP=SEP_ours')
    return name, new


def _report(changes, args):
    would = "would " if args.dry_run else ""
    print(changes.root)
    if changes.is_empty():
        print(f"  {', '.join(each.name for each in changes.added)}: all there, nothing to change")
        return
    for verb, paths in (("write", changes.write), ("remove", changes.remove)):
        for folder, names in _by_folder(paths):
            print(f"  {would}{verb} {folder}/: {' '.join(names)}")
    for line in changes.lines:
        print(f"  {would}{line}")
    for path in changes.kept:
        print(f"  left, as it is not of this command: {path}")
    if args.remove:
        return
    for trouble in troubles.of_fork(changes.root):
        print(f"note: {trouble}")
    first = changes.added[0]
    print("First run, with the folder that your data sets lie in:")
    script = shlex.quote(f"{changes.root}/scripts/{first.folder}/base2new_train.sh")
    _, datasets = dataset_configs(changes.root)
    dataset = "caltech101" if "caltech101" in datasets or not datasets else datasets[0]
    print(f"  DATA=/path/to/datasets bash {script} {dataset} 1")
    print(f"Undo: python tools/add_to_fork.py {shlex.quote(str(args.fork))} --remove")


def _by_folder(paths):
    folders = {}
    for path in paths:
        folder, _, name = path.rpartition("/")
        if folder:  # train.py is said by its lines
            folders.setdefault(folder, []).append(name)
    return folders.items()


if __name__ == "__main__":
    exit_with(main)
