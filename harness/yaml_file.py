"""YAML files that somebody has written: read strictly, without executing anything, and without yacs."""

import os

import yaml

from .edited import read_text
from .errors import MissingFile, UserError

MOST_BYTES = 2**18  # of a YAML file; the largest here has 20 kB
MOST_DEPTH = 50


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
    import difflib  # here, since a file that is there does without it

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
