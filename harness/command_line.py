"""The command line of train.py: its flags, which are those of CoOp's, and a fingerprint of what was given."""

import argparse
import hashlib
import json
import os
import re

from . import catalogue, dataset_folders
from .edited import read_bytes
from .method_code import code_checksum

# A key of the config where a list of domains or transforms should have ended
_KEY = re.compile(r"[A-Z][A-Z0-9_]*(\.[A-Z0-9_]+)+|OUTPUT_DIR|RESUME|SEED|USE_CUDA|VERBOSE|VERSION")


def parse_args(argv=None) -> argparse.Namespace:
    path = os.path.expanduser
    parser = argparse.ArgumentParser(prog="train.py", description="Train and test one trainer on one data set.")
    parser.add_argument("--root", type=path, default="", help="folder that holds the data sets")
    parser.add_argument("--output-dir", type=path, default="", help="folder for the results of this run")
    parser.add_argument(
        "--resume", type=path, default="", help="folder of a run to continue here: the same settings, classes and seed"
    )
    parser.add_argument("--seed", type=int, help="seed of all random numbers (none if negative)")
    parser.add_argument("--source-domains", nargs="+", metavar="DOMAIN", help="domains to train on")
    parser.add_argument("--target-domains", nargs="+", metavar="DOMAIN", help="domains to test on")
    parser.add_argument("--transforms", nargs="+", metavar="NAME", help="image transforms")
    parser.add_argument("--config-file", type=path, default="", help="config of the trainer")
    parser.add_argument("--dataset-config-file", type=path, default="", help="config of the data set")
    parser.add_argument("--trainer", default="", help="name of the trainer, such as SEP")
    parser.add_argument("--backbone", default="", help="CLIP to use: a name or the path of a weights file")
    parser.add_argument("--head", default="", help="head on top of the backbone (no trainer here has one)")
    parser.add_argument("--eval-only", action="store_true", help="only test")
    parser.add_argument("--model-dir", type=path, default="", help="with --eval-only: the run to test")
    parser.add_argument("--load-epoch", type=int, help="with --eval-only: the epoch to test")
    parser.add_argument("--no-train", action="store_true", help="build everything, then stop")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config keys to override")
    args = parser.parse_args(argv)
    for name in ("source_domains", "target_domains", "transforms"):  # argparse gives them the pairs behind, too
        values = getattr(args, name) or []
        end = next((i for i, value in enumerate(values) if _KEY.fullmatch(value)), len(values))
        if end < len(values):
            if end == 0:
                parser.error(f"argument --{name.replace('_', '-')}: expected at least one argument")
            setattr(args, name, values[:end])
            args.opts = values[end:] + args.opts
    args.root = dataset_folders.home_of(args.dataset_config_file) or args.root  # the user's DATA has the others
    return args


# The flags that decide on what is computed; the others say where, or of what model
_FLAGS = ("trainer", "seed", "backbone", "head", "source_domains", "target_domains", "transforms")


def given(args: argparse.Namespace) -> dict[str, str]:
    """What a command line gives of an experiment: a fingerprint of files, flags and pairs, and the files' names.

    "root", where the data sets lie, is not part of the experiment: they may be moved.

    Equal fingerprints mean equal settings, as long as the defaults are the same; different ones may do so, too.
    """
    files = {}
    for name in ("dataset_config_file", "config_file"):
        path = getattr(args, name)
        if path:
            try:
                files[name] = hashlib.sha256(read_bytes(path)).hexdigest()
            except OSError:
                files[name] = "cannot be read"  # which train.py reports
    homes = [method.home for method in catalogue.METHODS if method.home and method.trainer == args.trainer]
    if homes:  # of a method outside this checkout
        files["code"] = code_checksum(*homes)
    if dataset_folders.home_of(args.dataset_config_file):
        files["own data"] = dataset_folders.config_of(args.dataset_config_file)["DATASET"]["OWN"]
    flags = {name: getattr(args, name) for name in _FLAGS if getattr(args, name) not in (None, "")}
    pairs = dict(zip(args.opts[::2], args.opts[1::2]))
    content = json.dumps([files, flags, pairs], sort_keys=True)
    return {
        "fingerprint": hashlib.sha256(content.encode(errors="surrogateescape")).hexdigest()[:16],
        "dataset_config": dataset_folders.name_of(args.dataset_config_file),
        "config": os.path.splitext(os.path.basename(args.config_file))[0],
        "root": os.path.realpath(os.path.expanduser(args.root)) if args.root else "",
    }
