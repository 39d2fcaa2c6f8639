"""Image features on disk, in blocks that are found again by a digest of all that they depend on.

What is stale has another name and is never found, so nothing is compared or invalidated. A block appears whole or not
at all, holds a checksum of its name and numbers, and is the same whoever writes it: writers need no lock.
"""

import contextlib
import hashlib
import io
import json
import os
import shutil
from typing import Any, Iterator, Optional, Tuple

import numpy as np

from ..errors import UserError
from ..files.whole_files import write_whole

ROOM = 2**30  # bytes of a disk that are left to others
_ENDING = ".features"  # an array in NumPy's format with a checksum behind it
_CHECKSUM = hashlib.sha256().digest_size


def digest(what: Any) -> str:
    """32 hexadecimal digits, those of SHA-256, of JSON values; the order of keys does not matter."""
    canonical = json.dumps(what, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]


class FeatureStore:
    """Blocks of features (n, dim), float32, by name ("kind/block"), in files below `folder`.

    Nothing that goes wrong here stops a run: what cannot be read is not there, and where writing fails, that is said
    once and no more is written.

    Args:
        max_bytes: of all blocks; beyond it, those go that were not used for longest.
    """

    def __init__(self, folder: str, max_bytes: int):
        self.folder, self.max_bytes = folder, max_bytes
        self.writes = True

    def get(self, name: str) -> Optional[np.ndarray]:
        """The block, mapped into memory, read-only; None if there is none. One that is damaged is said and removed."""
        path = self._path(name)
        try:
            raw = np.memmap(path, np.uint8, "r")
            intact = raw[-_CHECKSUM:].tobytes() == _checksum(name, raw[:-_CHECKSUM])
            features = np.load(path, mmap_mode="r", allow_pickle=False) if intact else None
        except OSError:
            return None
        except ValueError:  # no byte can be mapped of an empty file
            features = None
        if features is None:
            print(f'Note: "{path}" in the feature store is damaged, and its features are encoded anew')
        with contextlib.suppress(OSError):  # another user's, or removed by another run
            if features is None:
                os.unlink(path)
            else:
                os.utime(path)  # the last use
        return features

    def put(self, name: str, features: np.ndarray) -> None:
        """Keep a block (n, dim)."""
        features = np.ascontiguousarray(features, "<f4")
        if not self.writes or features.nbytes > self.max_bytes:
            return
        path = self._path(name)
        try:
            os.makedirs(self.folder, exist_ok=True)
            if shutil.disk_usage(self.folder).free < features.nbytes + ROOM:
                raise OSError(f"it has less than {ROOM // 2**20} MiB left")
            write_whole(path, lambda file: _save(file, name, features))
            self._make_room_beside(path)
        except (OSError, UserError) as error:
            self.writes = False
            cause = error.__cause__ or error  # of a UserError, what the system said
            print(
                f'Note: the feature store "{self.folder}" cannot be written to '
                f"({getattr(cause, 'strerror', '') or cause}), and no more features are kept: name another folder in "
                f"the environment variable STORE"
            )

    def _path(self, name):
        return os.path.join(self.folder, *name.split("/")) + _ENDING

    def _make_room_beside(self, new):
        blocks = sorted(_blocks(self.folder))
        surplus = sum(size for _, size, _ in blocks) - self.max_bytes
        for _, size, path in blocks:
            if surplus <= 0:
                break
            if path != new:
                with contextlib.suppress(OSError):  # another run was faster, or it is of another user
                    os.unlink(path)
                surplus -= size


def _save(file, name, features):
    array = io.BytesIO()
    np.save(array, features, allow_pickle=False)
    file.write(array.getbuffer())
    file.write(_checksum(name, array.getbuffer()))


def _checksum(name, content):
    checksum = hashlib.sha256(f"{name}\0".encode())
    checksum.update(content)
    return checksum.digest()


def _blocks(folder) -> Iterator[Tuple[int, int, str]]:
    """(last use in ns, bytes, path) of every block."""
    for kind in os.scandir(folder):
        if kind.is_dir():
            for entry in os.scandir(kind.path):
                if entry.name.endswith(_ENDING):
                    with contextlib.suppress(FileNotFoundError):
                        stat = entry.stat()
                        yield stat.st_mtime_ns, stat.st_size, entry.path
