"""Text files that somebody may have edited, or replaced by something else."""

import errno
import json
import os
import re
import stat
from typing import Any

import yaml

MOST_BYTES = 2**24  # of metrics.json, whose class names are the longest
MOST_DEPTH = 50


def read_text(path: str, most: int = MOST_BYTES) -> str:
    """A regular file of UTF-8, with or without a byte-order mark.

    Raises OSError, for anything else and for a larger one, too, and ValueError, with the line, for other text.
    """
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a named pipe would wait for somebody who writes
    with open(number, "rb") as file:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it is larger than {most:,} bytes")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = len(re.findall(rb"\r\n|\r|\n", content[: error.start])) + 1
        raise ValueError(f"line {line} is no UTF-8 (byte 0x{content[error.start]:02x})") from None
    return text[1:] if text.startswith("\ufeff") else text


def read_json(path: str) -> Any:
    """What a JSON file holds, each key once, read as `read_text`. Raises OSError and ValueError."""
    try:
        return json.loads(read_text(path), object_pairs_hook=_once)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _once(pairs):
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f'"{max(keys, key=keys.count)}" is there twice')
    return found


def read_yaml(path: str, most: int = 2**18) -> Any:
    """What a YAML file holds, read as `read_text`. Raises ValueError and YAMLError."""
    return yaml.load(read_text(path, most), _Loader)


class _Loader(yaml.SafeLoader):
    """YAML in which a key stands once, nothing contains itself, and nothing is nested deep."""

    depth = 0

    def compose_node(self, parent, index):
        if self.depth == MOST_DEPTH or self.check_event(yaml.AliasEvent):
            raise ValueError("it has aliases (*name), or is nested too deep")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node, deep=False):
        found = super().construct_mapping(node, deep)
        if len(found) < len(node.value):
            raise ValueError("a key is there twice")
        return found
