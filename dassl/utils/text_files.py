"""Read text that people edit, as whatever program saved it: lists and JSON.

`trainers/` has a reader of its own (`trainers/files/edited_files.py`), since it goes into forks.
"""

import json
import re

from dassl.utils.errors import MissingFile, UserError


def read_text(path):
    """The text of a UTF-8 file, with or without byte-order marks; its lines end in "\\n", whatever they ended in.

    Raises UserError (MissingFile), one sentence with file, line and cause, for one that cannot be read.
    """
    try:
        with open(path, "rb") as file:
            content = file.read()
    except FileNotFoundError:
        raise MissingFile(f"{path} does not exist: check its path.") from None
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL
        raise UserError(f"{path} cannot be read ({getattr(error, 'strerror', '') or error}): mend that.") from None
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = len(re.findall(rb"\r\n|\r|\n", content[: error.start])) + 1
        raise UserError(
            f"{path}, line {line}, is no UTF-8 (byte 0x{content[error.start]:02x}): save it again as UTF-8."
        ) from None
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return re.sub(r"(?m)^\ufeff+", "", text)  # also where files that begin with one were put together


def read_lines(path):
    """(number from 1, line without white space around it) of each line that is not empty. Raises as `read_text`."""
    lines = (line.strip() for line in read_text(path).split("\n"))
    return [(number, line) for number, line in enumerate(lines, start=1) if line]


def read_json(fpath):
    """What a JSON file holds. Raises as `read_text`, and UserError for no JSON and for a key that is there twice."""
    text = read_text(fpath)
    try:
        return json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{fpath} is not valid JSON ({error}): mend it or get it again.") from None


def _once(pairs):
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f'"{max(keys, key=keys.count)}" is there twice')
    return found
