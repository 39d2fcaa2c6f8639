"""Read JSON that people edit, as whatever program saved it: UTF-8 with or without a byte-order mark, each key once."""

import json
from typing import Any


def read_json(path: str) -> Any:
    """What a JSON file holds. Raises OSError, and ValueError, with the line, for what is no such file."""
    with open(path, "rb") as file:
        content = file.read()
    try:
        return json.loads(content.decode("utf-8-sig"), object_pairs_hook=_once)
    except UnicodeDecodeError as error:
        line = len(content[: error.start].splitlines()) or 1
        raise ValueError(f"line {line} is no UTF-8 (byte 0x{content[error.start]:02x})") from None
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _once(pairs):
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f'"{max(keys, key=keys.count)}" is there twice')
    return found
