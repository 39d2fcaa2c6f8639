"""What is in files, by a digest, and which files need not be read again to know it.

A file is what it contains. Its path, inode, size and times of change only spare reading it: their digest is the
name of a note that holds the digest of the content. Files that have changed have no note, so none is ever out of date.
"""

import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, List, Optional, Sequence

from ..errors import UserError
from .whole_files import write_whole

# A file that was changed less than this before it was read may change again without another time (FAT counts in steps
# of 2 s): no note is made of it
_COARSEST_NS = 2_000_000_000
_BLOCK = 2**20


def store_folder(cfg, run: str = "") -> str:
    """STORE.DIR, the environment's STORE, or `feature_store` beside the data sets, if need be in the run's folder.

    run: that folder, where it may have been moved.
    """
    given = cfg.STORE.DIR or os.environ.get("STORE", "")
    if given:
        return os.path.expanduser(given)
    root = os.path.expanduser(cfg.DATASET.ROOT)
    beside_data = os.path.isdir(root) and os.access(root, os.W_OK)
    return os.path.join(root if beside_data else run or cfg.OUTPUT_DIR, "feature_store")


def notes_folder(cfg) -> str:
    """Where a run notes what it knows of files: the feature store, or "" if there is to be none."""
    return store_folder(cfg) if cfg.STORE.MAX_GB > 0 else ""


def identities(paths: Sequence[str]) -> Optional[List[list]]:
    """[path, inode, bytes, ns of the last change of content, of anything] of each; None if one is missing.

    harness/records.py compares them, too. Not the device, whose number differs from one mount of a network disk to
    another.
    """
    try:
        stats = [os.stat(path) for path in paths]
    except (OSError, ValueError):
        return None
    return [[os.path.abspath(path), s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns] for path, s in zip(paths, stats)]


def content_of(paths: Sequence[str], folder: str = "", files: Optional[List[list]] = None) -> Optional[str]:
    """64 hexadecimal digits that tell apart what files hold, in the order of `paths`; None if one cannot be read.

    Args:
        folder: that of the notes; "" for none. One that cannot be written to is no error.
        files: their `identities`, by whom has them.
    """

    def read():
        with ThreadPoolExecutor(8) as pool:  # a network disk is waited for
            return hashlib.sha256("".join(pool.map(sha256, paths)).encode()).hexdigest()

    return noted(paths, folder, "content", read, time.time_ns(), files)


def noted(
    paths: Sequence[str],
    folder: str,
    what: str,
    make: Callable[[], str],
    since: int,
    before: Optional[List[list]] = None,
) -> Optional[str]:
    """What make() says of files, from a note if there is one; None if a file is missing or cannot be read.

    Args:
        what: which of the digests of these files it is.
        make: returns a text without spaces.
        since: time.time_ns() before the first of them was read.
        before: their `identities`, if they are known.
    """
    before = before or identities(paths)
    if before is None:
        return None
    name = hashlib.sha256(f"{what}\0{before}".encode("utf-8", "surrogateescape")).hexdigest()
    note = os.path.join(folder, "contents", name[:2], name)
    found = _read(note, name) if folder else None
    if found is None:
        try:
            found = make()
        except OSError:
            return None
        last = max((max(identity[-2:]) for identity in before), default=0)
        if folder and last < since - _COARSEST_NS and identities(paths) == before:
            try:
                write_whole(note, lambda file: file.write(f"{found} {_check(name, found)}".encode()))
            except UserError:
                pass  # they are read again the next time
    return found


def sha256(path: str) -> str:
    """Of a file: 64 hexadecimal digits. Raises OSError."""
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        for block in iter(lambda: file.read(_BLOCK), b""):
            digest.update(block)
    return digest.hexdigest()


def _read(note, name):
    try:
        with open(note, "rb") as file:
            found, check = file.read(200).decode().split()
    except (OSError, ValueError):
        return None
    return found if check == _check(name, found) else None


def _check(name, found):
    """Of a note's name and what it says, so that a damaged one is none."""
    return hashlib.sha256(f"{name} {found}".encode()).hexdigest()[:16]
