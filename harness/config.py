"""Config files and KEY VALUE pairs, checked against a yacs config that has every key."""

import ast
import difflib
import os

import yaml
from yacs.config import CfgNode

from .edited import read_text
from .errors import MissingFile, UserError

MOST_BYTES = 2**18  # of a YAML file; the largest here has 20 kB
MOST_DEPTH = 50
TYPE_NAMES = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: 'a list such as "[1, 2]"',
    tuple: 'a list such as "(1, 2)"',
}


class Loader(yaml.SafeLoader):
    """YAML in which a key stands once and is text, nothing contains itself, and nothing is nested deep."""

    depth = 0

    def compose_node(self, parent, index):
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(
                None, None, "aliases (*name) are not allowed in a config", self.peek_event().start_mark
            )
        if self.depth == MOST_DEPTH:
            raise yaml.composer.ComposerError(None, None, "it is nested too deep", self.peek_event().start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:str" or key.value in seen:
                problem = f"the key {key.value!s:.60} is {'there twice' if key.value in seen else 'no text'}"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_config(file):
    """The nested dict in a YAML file. Raises FileNotFoundError, naming the nearest files, and ValueError."""
    if not os.path.exists(file):
        raise MissingFile(f"Config file {file} does not exist: {_nearest_files(file)}.")
    try:
        tree = yaml.load(read_text(file, MOST_BYTES), Loader)
    except OSError as e:
        raise UserError(f"Config file {file} cannot be read: {e.strerror}.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as e:
        raise UserError(f"Config file {file} is not valid YAML: {' '.join(str(e).split())}.") from None
    if not isinstance(tree, (dict, type(None))):
        raise UserError(f"Config file {file} must hold sections of keys, but it holds {tree!r:.60}.")
    return tree or {}


def _nearest_files(file):
    """What there is in the folder of `file`, or in the nearest folder above it that exists."""
    name, folder = os.path.basename(file), os.path.dirname(file) or "."
    while not os.path.isdir(folder):
        name, folder = os.path.basename(folder), os.path.dirname(folder) or "."
    near = difflib.get_close_matches(name, sorted(os.listdir(folder)), n=3, cutoff=0.3)
    if not near:
        return f"{folder} has nothing like it"
    return f"nearest: {', '.join(os.path.join(folder, n) for n in near)}"


def flatten(tree, prefix=""):
    """The (dotted key, value) pairs of a nested dict, in its order."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def merge_file(cfg, file):
    """Set every key of a YAML file in `cfg`. Raises FileNotFoundError and ValueError."""
    for key, value in flatten(read_config(file)):
        merge(cfg, key, value, f"in {file}")


def merge_args(cfg, args):
    """Set in `cfg` all that a command line (`command_line.parse_args`) gives. Raises FileNotFoundError and ValueError.

    The data set's file, the trainer's file, the flags, the KEY VALUE pairs: the later wins.
    """
    for file in (args.dataset_config_file, args.config_file):
        if file:
            merge_file(cfg, file)

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
    new = _literal(value)
    if isinstance(old, str) and isinstance(value, str) and not isinstance(new, str):
        new = value  # text that looks like a number
    elif isinstance(old, float) and type(new) is int:
        new = float(new)
    elif isinstance(old, (list, tuple)) and isinstance(new, (list, tuple)):
        new = type(old)(new)
    if old is not None and type(new) is not type(old):
        raise UserError(f"{key} {where} is {value!r}, but must be {TYPE_NAMES.get(type(old), type(old).__name__)}.")
    node[leaf] = new


def _literal(value):
    try:
        return ast.literal_eval(value) if isinstance(value, str) else value
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return value
