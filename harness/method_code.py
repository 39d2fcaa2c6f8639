"""The code of a method whose folder lies outside this checkout: which files it has, and what tells them apart."""

import hashlib
import os
import re

from .edited import read_bytes
from .errors import UserError

ENDING = ".py"
CHECKSUM = "CODE_CHECKSUM"  # key of the method's config node: what tells its code apart, so that it is a setting


def modules(folder: str) -> list[str]:
    """The files of its code that are imported: those directly in the folder, but for its tests."""
    return sorted(name for name in os.listdir(folder) if _is_code(name) and name != "__init__.py")


def _is_code(name):
    return name.endswith(ENDING) and not re.fullmatch(r"test_.*|.*_test\.py|conftest\.py|\..*", name)


def code_checksum(folder: str) -> str:
    """16 hexadecimal digits that tell the code in a method's folder apart, its tests left out. Raises UserError."""
    digest = hashlib.sha256()
    try:
        for place in code_below(folder):
            content = read_bytes(os.path.join(folder, place))
            digest.update(f"{place} {len(content)}\n".encode(errors="surrogateescape") + content)
    except OSError as error:
        raise UserError(f"The code in {folder} cannot be read ({error.strerror}): mend that.") from None
    return digest.hexdigest()[:16]


def code_below(folder: str, below: str = "") -> list[str]:
    """Paths below the folder. Of its subfolders those that hold code: others may be full of pictures or results."""
    names = sorted(os.listdir(os.path.join(folder, below)))
    found = [os.path.join(below, name) for name in names if _is_code(name)]
    if found or not below:
        subfolders = [n for n in names if n.isidentifier() and os.path.isdir(os.path.join(folder, below, n))]
        found += [place for name in subfolders for place in code_below(folder, os.path.join(below, name))]
    return found
