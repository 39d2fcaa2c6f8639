"""Config files and KEY VALUE pairs, checked against a yacs config that has every key."""

import ast
import difflib

from yacs.config import CfgNode

from . import dataset_folders
from .errors import UserError
from .yaml_file import flatten, read_config

TYPE_NAMES = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: 'a list such as "[1, 2]"',
    tuple: 'a list such as "(1, 2)"',
}


def merge_file(cfg, file):
    """Set every key of a YAML file in `cfg`. Raises FileNotFoundError and ValueError."""
    for key, value in flatten(read_config(file)):
        merge(cfg, key, value, f"in {file}")


def merge_args(cfg, args):
    """Set in `cfg` all that a command line (`command_line.parse_args`) gives. Raises FileNotFoundError and ValueError.

    The data set's file, the trainer's file, the flags, the KEY VALUE pairs: the later wins.
    """
    file = args.dataset_config_file
    if dataset_folders.home_of(file):
        for key, value in flatten(dataset_folders.config_of(file)):
            merge(cfg, key, value, f"in {file}")
    elif file:
        merge_file(cfg, file)
    if args.config_file:
        merge_file(cfg, args.config_file)

    flags = {
        "DATASET.ROOT": args.root,
        "DATASET.SOURCE_DOMAINS": args.source_domains,
        "DATASET.TARGET_DOMAINS": args.target_domains,
        "INPUT.TRANSFORMS": args.transforms,
        "MODEL.BACKBONE.NAME": args.backbone,
        "MODEL.HEAD.NAME": args.head,
        "OUTPUT_DIR": args.output_dir,
        "RESUME": args.resume,
        "SEED": args.seed,
        "TRAINER.NAME": args.trainer,
    }
    for key, value in flags.items():
        if value not in (None, ""):
            merge(cfg, key, value, "on the command line")

    stray = next((opt for opt in args.opts if opt.startswith("--")), None)
    if stray:
        raise UserError(f"{stray} comes after a config key: give all flags before the first KEY VALUE pair.")
    if len(args.opts) % 2:
        raise UserError(
            f"{args.opts[-1]} at the end of the command line stands alone: give keys and values in pairs, "
            "and quote values that contain spaces."
        )
    for key, value in zip(args.opts[::2], args.opts[1::2]):
        merge(cfg, key, value, "on the command line")


def merge(cfg, key, value, where):
    """Set the dotted `key` of `cfg` to `value`; a string that is a Python literal is read as yacs does.

    `where` says where the setting stands ("in FILE"). Raises ValueError for an unknown key or a wrong type.
    """
    *sections, leaf = key.split(".")
    node = cfg
    for section in sections:
        node = node.get(section) if isinstance(node, CfgNode) else None
    if not isinstance(node, CfgNode) or leaf not in node:
        known = {k.upper(): k for k, _ in flatten(cfg)}
        near = [known[k] for k in difflib.get_close_matches(key.upper(), known, n=3, cutoff=0)]
        raise UserError(f"Unknown config key {key} {where}: the nearest valid keys are {', '.join(near)}.")

    old = node[leaf]
    if isinstance(old, CfgNode):
        if value is not None:  # None: a heading in a file with nothing below it
            raise UserError(f"{key} {where} is a section, not a key: the keys in it are {', '.join(old)}.")
        return
    new = literal(value)
    if isinstance(old, str) and isinstance(value, str) and not isinstance(new, str):
        new = value  # text that looks like a number
    elif isinstance(old, float) and type(new) is int:
        new = float(new)
    elif isinstance(old, (list, tuple)) and isinstance(new, (list, tuple)):
        new = type(old)(new)
    if old is not None and type(new) is not type(old):
        raise UserError(f"{key} {where} is {value!r}, but must be {TYPE_NAMES.get(type(old), type(old).__name__)}.")
    node[leaf] = new


def literal(value):
    """What a string that is a Python literal stands for, as yacs reads it; anything else as it is."""
    try:
        return ast.literal_eval(value) if isinstance(value, str) else value
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return value
