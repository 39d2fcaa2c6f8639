"""The config of a run that a subject measures."""

from pathlib import Path

import datasets
import own_methods
import trainers
from dassl.config import get_cfg_default
from dassl.utils import import_all
from harness.command_line import parse_args
from harness.config import merge_args

import_all(trainers)
import_all(datasets)

REPOSITORY = Path(__file__).resolve().parent.parent
DATA = str(REPOSITORY / "data")


def config_of(arguments):
    """The config of a command line of train.py."""
    args = parse_args(arguments)
    own_methods.load([args.trainer] if args.trainer else [])
    cfg = get_cfg_default()
    merge_args(cfg, args)
    return cfg
