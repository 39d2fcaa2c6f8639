"""Classify pictures with a trained run.

    python tools/predict.py --model-dir output/base2new/train_base/shapes/shots_16/SEP/shapes/seed1 a.png pictures/

Pictures are files, folders (all that lies below them, but what is hidden or, by its name, no picture), or patterns in
quotes ("*.jpg"). Settings, classes and prompts are the run's; --classes or --classes-file choose others. json is one
object a line. Memory does not grow with the number of pictures. A file that cannot be read is named, the others go on,
and the exit code is 1.
"""

import argparse
import csv
import glob
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import harness.start  # noqa: F401  first, as it says what is missing

# isort: split
from dassl.utils import progress
from dassl.utils.picture_files import ENDINGS, pictures_below, say_passed_over
from harness.errors import UserError, exit_with, user_error
from inference.api import load_run
from inference.class_options import add_class_options, classes_of
from inference.features_file import FeaturesFile


def pictures(given):
    """Paths of files, of all pictures below folders, and of what patterns match; says which files are none."""
    for what in given:
        if os.path.isdir(what):
            passed_over = []
            yield from pictures_below(what, passed_over)
            say_passed_over(what, passed_over, "the names of pictures end in", sys.stderr)
            continue
        matched = []
        if glob.has_magic(what) and not os.path.exists(what):
            matched = [path for path in sorted(glob.glob(what, recursive=True)) if not os.path.isdir(path)]
        yield from matched or [what]  # if it does not exist, reading it says so


def text(path, predictions):
    print(path, " ", ", ".join(f"{name} {100 * p:.1f} %" for name, p in predictions))


def as_json(path, predictions):
    found = [{"class": name, "probability": p} for name, p in predictions]
    print(json.dumps({"path": path, "predictions": found}))


def as_csv(path, predictions):
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerows([path, rank, name, p] for rank, (name, p) in enumerate(predictions, start=1))


FORMATS = {"text": text, "json": as_json, "csv": as_csv}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="+", metavar="IMAGE|FOLDER|PATTERN")
    parser.add_argument("--model-dir", required=True, metavar="RUN", help="folder of a run of train.py")
    add_class_options(parser)
    parser.add_argument("--top", type=int, default=5, help="most probable classes that are printed (default 5)")
    parser.add_argument("--format", choices=FORMATS, default="text")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--embed", metavar="FILE.npz", help="write image features there (paths, features) instead")
    args = parser.parse_args(argv)
    if args.top < 1 or args.batch_size < 1:
        parser.error("--top and --batch-size must be 1 or more")
    sys.stdout.reconfigure(errors="bytes_of_names")
    model = load_run(args.model_dir, classes_of(args))
    failed = embed(model, args) if args.embed else predict(model, args)
    return 1 if failed else 0


def predict(model, args):
    """Print predictions; returns how many files could not be read."""
    if args.format == "csv":
        print("path,rank,class,probability")
    return go_through(model, args, FORMATS[args.format])


def embed(model, args):
    with FeaturesFile(args.embed) as file:
        return go_through(model, args, file.add, embed=True)


def go_through(model, args, found, **options):
    """Call found(path, what the model makes of it) for each picture; returns how many could not be read."""
    failed = seen = 0
    results = model.stream(pictures(args.pictures), args.top, args.batch_size, **options)
    for path, result in progress(results, desc="Pictures", unit="picture"):
        seen += 1
        if isinstance(result, Exception):
            failed += 1
            print(f"error: {user_error(result)}", file=sys.stderr)
        else:
            found(path, result)
    if not seen:
        raise UserError(f"there are no pictures in {', '.join(args.pictures)}: their names end in {' '.join(ENDINGS)}.")
    return failed


if __name__ == "__main__":
    exit_with(main)
