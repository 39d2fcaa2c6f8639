"""Make runs of checkpoints that the methods' public code has trained, to be tested and tabulated here.

    python tools/import_checkpoint.py --trainer MaPLe THEIRS/model.pth.tar-5 \\
        --output-dir output/base2new/train_base/caltech101/shots_16/MaPLe/vit_b16_c2_ep5_batch4_2ctx/seed1
    python tools/import_checkpoint.py --trainer PromptSRC ZOO --recursive [--output-dir output]

Data set, seed, shots, classes and config of a run follow from its folder here, if that is one of the layout; else
from the file's path ("caltech101/base/seed1"); and the flags, those of train.py, come first. With --recursive each
run below a folder goes where it belongs in the layout. The file is read without running anything in it, every tensor
in it must have its place, and settings that show in it (numbers of tokens, depths) are taken from it.

Exit code: 0 all are imported; 1 one is not, and says why; 2 the command line is wrong.
"""

import argparse
import os
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import harness.start  # noqa: F401  first, as it says what is missing

# isort: split
import datasets.image_folder  # noqa: F401  its keys
import trainers
from dassl.config import get_cfg_default
from dassl.utils import import_all
from harness import layout
from harness.command_line import parse_args as parse_train_args
from harness.config import merge_args
from harness.dataset_folders import name_of
from harness.errors import UserError, exit_with, fail
from trainers import keys
from zoo import places as zoo
from zoo.run import import_run

import_all(trainers)


def parse_args(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", metavar="SRC", help="checkpoint, or folder with one run (--recursive: with many)")
    parser.add_argument("--trainer", required=True, help="whose public code trained it, such as MaPLe")
    parser.add_argument("--output-dir", help="the run's folder to make; with --recursive the output folder (output)")
    parser.add_argument("--recursive", action="store_true", help="import every run below SRC")
    parser.add_argument(
        "--protocol", choices=zoo.TRAINS, default="", help="what it was trained for, if no path says so"
    )
    parser.add_argument("--dataset-config-file", default="", help="config of the data set that it was trained on")
    parser.add_argument("--config-file", default="", help="config that it was trained with")
    parser.add_argument("--seed", type=int, help="seed that it was trained with")
    parser.add_argument("--root", default="", help="folder that holds the data sets, for tools that read config.yaml")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="config keys that it was trained with")
    args = parser.parse_intermixed_args(argv)
    if args.recursive and (args.dataset_config_file or args.config_file or args.seed is not None):
        parser.error("--recursive takes data sets, configs and seeds from the paths")
    if not args.recursive and not args.output_dir:
        parser.error("--output-dir is needed: the folder of the run to make")
    return args


def source_file(source):
    """The checkpoint that `source` is, or that the one run below it has. Raises UserError."""
    if not os.path.isdir(source):
        return source
    found = zoo.checkpoints_below(source)
    if len(found) != 1:
        which = "is no checkpoint" if not found else f"are the checkpoints of {len(found)} runs"
        raise UserError(f"Below {source} {which}: name one file, or import all with --recursive.")
    return found[0]


def import_one(args, file, folder, place):
    """Import one file; returns what to print."""
    flags, pairs = zoo.train_arguments(place) if place else (["--trainer", args.trainer], [])
    for flag in ("dataset_config_file", "config_file", "seed", "root"):
        value = getattr(args, flag)
        flags += [f"--{flag.replace('_', '-')}", str(value)] if value not in ("", None) else []
    cfg = get_cfg_default()
    merge_args(cfg, parse_train_args([*flags, "--output-dir", folder, *pairs, *args.opts]))
    keys.check(cfg)
    opts = list(args.opts)
    if os.path.isfile(cfg.MODEL.BACKBONE.NAME) and not cfg.MODEL.BACKBONE.ACTIVATION:
        opts += ["MODEL.BACKBONE.ACTIVATION", "quickgelu"]  # public code's, which a file of weights may not say
        cfg.merge_from_list(opts[-2:])
    done = import_run(cfg, file, opts[::2])
    return "\n".join(_said(done, file, test_command(args.root, done, flags, pairs, opts)))


def _said(done, file, command):
    if not done.new:
        yield f"imported before: {done.folder}"
        return
    yield f"{file} -> {done.folder}"
    yield f"  {done.n_tensors} tensors taken, {len(done.ignored)} left behind that have no use here"
    for key, value in done.changed.items():
        yield f"  {key} is {value!r}, as the file has it"
    yield f"  test it: {command}"


def test_command(root, done, flags, pairs, opts):
    """What to type to test an imported run; a test needs the settings that it was trained with."""
    changed = [text for key, value in done.changed.items() for text in (key, str(value))]
    placed = layout.place_of(done.folder)
    script = zoo.test_command(placed[1], placed[0], root, [*opts, *changed]) if placed else None
    if script:
        return script
    rest = [*flags, "--eval-only", "--model-dir", done.folder, "--output-dir", f"{done.folder}/test"]
    return shlex.join(["python", "train.py", *rest, *pairs, *opts, *changed])


def import_single(args):
    file = source_file(args.source)
    place = zoo.place_of_run(args.output_dir, args.trainer)
    if place is None and not (args.dataset_config_file and args.config_file):
        dataset = name_of(args.dataset_config_file)
        place = zoo.place_of_file(file, os.path.dirname(file), args.trainer, args.protocol, dataset, args.seed)
    print(import_one(args, file, args.output_dir, place))
    return 0


def import_all_below(args):
    """Import every run below a folder, one after the other; whatever one of them lacks, the others go on."""
    output, failed = args.output_dir or str(zoo.ROOT / "output"), 0
    files = zoo.checkpoints_below(args.source)
    if not files:
        raise UserError(f"Below {args.source} is no checkpoint (model.pth.tar-<epoch>): correct the path.")
    for file in files:
        try:
            place = zoo.place_of_file(file, args.source, args.trainer, args.protocol)
            print(import_one(args, file, place.below(output), place), flush=True)
        except Exception as error:
            failed = fail(error, 1)
    print(f"{len(files)} checkpoints below {args.source}; report: python tools/report.py {shlex.quote(output)}")
    return failed


def main(argv=None):
    args = parse_args(argv)
    zoo.method_of(args.trainer)
    return import_all_below(args) if args.recursive else import_single(args)


if __name__ == "__main__":
    exit_with(main)
