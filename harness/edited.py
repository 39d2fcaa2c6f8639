"""JSON and text files that somebody may have edited, or put something else in the place of.

What is read is a regular file of a bounded size, and of the shape that its reader declares. YAML: yaml_file.py.
"""

import errno
import json
import os
import re
import stat

from .errors import UserError

MOST_BYTES = 2**24  # the largest metrics.json, with the 21,841 class names of ImageNet-21K, has 2 MB
_NOTHING = type(None)
SCALAR = (bool, int, float, str, _NOTHING)
NUMBER = (int, float)
_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", _NOTHING: "nothing"}


def open_regular(path, most: int = MOST_BYTES):
    """A regular file, open for its bytes. Raises OSError, for anything else and for a larger one, too."""
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a named pipe would wait for somebody who writes
    found = os.fstat(number)
    if stat.S_ISREG(found.st_mode) and found.st_size <= most:
        return open(number, "rb")
    os.close(number)
    if stat.S_ISREG(found.st_mode):
        raise OSError(errno.EFBIG, f"it is larger than {most:,} bytes")
    raise OSError(errno.EINVAL, "it is no regular file")


def read_bytes(path, most: int = MOST_BYTES) -> bytes:
    """What `open_regular` opens."""
    with open_regular(path, most) as file:
        return file.read(most)


def read_text(path, most: int = MOST_BYTES) -> str:
    """As `read_bytes`: UTF-8, with or without a byte-order mark. Raises ValueError, with the line, for what is none."""
    content = read_bytes(path, most)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = len(re.findall(rb"\r\n|\r|\n", content[: error.start])) + 1
        raise ValueError(f"line {line} is no UTF-8 (byte 0x{content[error.start]:02x})") from None
    return text[1:] if text.startswith("\ufeff") else text


def read_json(path, shape) -> dict:
    """What a JSON file holds. Raises OSError if it cannot be read, and ValueError for what is not of that shape.

    No JSON is a key that is there twice, and a number that is none (NaN) or beyond 2^64.
    """
    try:
        found = json.loads(
            read_text(path), object_pairs_hook=_once, parse_constant=_number, parse_float=_number, parse_int=_whole
        )
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    check(found, shape)
    return found


def _once(pairs):
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)} is there twice")
    return found


def _number(text):
    value = float(text)
    if not abs(value) <= 2**64:
        raise ValueError(f"{text[:60]} is no number that can be used")
    return value


def _whole(text):
    _number(text)
    return int(text)


def check(value, shape, key: str = "") -> None:
    """Raise UserError, naming the key, unless `value` is of a shape.

    A shape is a type; [shape], a list of such; {key: shape}, a section, in which what is there of these keys is such
    and other keys are left alone; {str: shape}, a section of any keys; or a tuple of these, each of which will do.
    """
    options = shape if isinstance(shape, tuple) else (shape,)
    if type(value) in options:
        return
    option = next((one for one in options if type(one) is type(value)), None)
    if type(option) is list:
        for number, item in enumerate(value, start=1):
            if not _is_plain(item, option[0]):
                check(item, option[0], f"{key}, number {number}")
    elif type(option) is dict:
        if any(type(name) is not str for name in value):
            raise UserError(f"{key or 'it'} has a key that is no text")
        same = option.get(str)
        for name in value if same else option.keys() & value.keys():
            if not _is_plain(value[name], same or option[name]):
                check(value[name], same or option[name], f"{key}.{name}" if key else name)
    else:
        raise UserError(f"{key or 'it'} is {shown(value)}, but must be {_words(options)}")


def _is_plain(value, shape):
    """Most values are, and a report checks a million."""
    return type(value) is shape or (type(shape) is tuple and type(value) in shape)


def shown(value) -> str:
    """A value in a sentence."""
    kinds = {dict: "a section of keys", list: "a list", _NOTHING: "nothing (null)"}
    return kinds.get(type(value)) or f"{value!r:.60}"


def _words(options):
    if float in options:
        options = [one for one in options if one is not int]
    return " or ".join(
        "a list" if type(one) is list else "a section of keys" if type(one) is dict else _WORDS[one] for one in options
    )
