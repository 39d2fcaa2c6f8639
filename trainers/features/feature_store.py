"""Image features, outputs of layers and pixels on disk, in blocks found again by a digest of all that they depend on.

What is stale has another name and is never found, so nothing is compared or invalidated. A block appears whole or not
at all, holds a checksum of its name and numbers, and is the same whoever writes it: writers need no lock.
"""

import contextlib
import hashlib
import io
import json
import os
import shutil
import time
from typing import Any, Iterator, Optional, Tuple

import numpy as np

from ..errors import UserError
from ..files.whole_files import write_whole

ROOM = 2**30  # bytes of a disk that are left to others
# Begin the kind of blocks of pixels, uint8, and of what comes out of a layer, float16 or float32. These are large; all
# others are of features, float32
PIXELS, OUTPUTS = "pixels-", "outputs-"
IN_USE = 7 * 24 * 3600 * 10**9  # ns since its last use in which a block makes no room for large ones
_ENDING = ".features"  # an array in NumPy's format with a checksum behind it
_CHECKSUM = hashlib.sha256().digest_size


def digest(what: Any) -> str:
    """32 hexadecimal digits, those of SHA-256, of JSON values; the order of keys does not matter."""
    canonical = json.dumps(what, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]


class FeatureStore:
    """Blocks of features (n, dim), pixels (n, H, W, 3) or outputs (n, length, width), by name ("kind/block"), in files
    below `folder`.

    Nothing that goes wrong here stops a run: what cannot be read is not there, and where writing fails, that is said
    once and no more is written.

    Pixels and outputs, which are large, take what room features leave: they go first, and get none by what is in use.
    So tests of more pictures than the store holds, one after the other, find those that came first, where each would
    else drive out the next.

    Args:
        max_bytes: of all blocks; beyond it, those go that were not used for longest.
    """

    def __init__(self, folder: str, max_bytes: int):
        self.folder, self.max_bytes = folder, max_bytes
        self.writes = self.takes_large = True

    def has(self, name: str) -> bool:
        """Whether there is such a block, which may be damaged."""
        return os.path.exists(self._path(name))

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
            made = "pictures are decoded" if _is_of_pixels(path) else "features are encoded"
            print(f'Note: "{path}" in the feature store is damaged, and its {made} anew')
        with contextlib.suppress(OSError):  # another user's, or removed by another run
            if features is None:
                os.unlink(path)
            else:
                os.utime(path)  # the last use
        return features

    def put(self, name: str, features: np.ndarray) -> None:
        """Keep a block."""
        path = self._path(name)
        half = _is_large(path) and features.dtype == np.float16
        features = np.ascontiguousarray(features, "u1" if _is_of_pixels(path) else "<f2" if half else "<f4")
        takes = self.takes_large if _is_large(path) else self.writes
        if not takes or features.nbytes > self.max_bytes:
            return
        try:
            os.makedirs(self.folder, exist_ok=True)
            if shutil.disk_usage(self.folder).free < features.nbytes + ROOM:
                raise OSError(f"it has less than {ROOM // 2**20} MiB left")
            if _is_large(path) and not self._has_room_for(features.nbytes, path):
                return
            write_whole(path, lambda file: _save(file, name, features))
            self._make_room_beside(path)
        except (OSError, UserError) as error:
            self.writes = self.takes_large = False
            cause = error.__cause__ or error  # of a UserError, what the system said
            print(
                f'Note: the feature store "{self.folder}" cannot be written to '
                f"({getattr(cause, 'strerror', '') or cause}), and no more features are kept: name another folder in "
                f"the environment variable STORE"
            )

    def _path(self, name):
        return os.path.join(self.folder, *name.split("/")) + _ENDING

    def _has_room_for(self, size, path):
        """Whether so many bytes of a large block fit in beside features and what is in use; if not, it is said."""
        used = time.time_ns() - IN_USE
        stay = sum(bytes_ for is_features, last, bytes_, _ in _blocks(self.folder) if is_features or last > used)
        if stay + size > self.max_bytes:
            self.takes_large = False
            made = "decoded" if _is_of_pixels(path) else "encoded"
            print(
                f'Note: the feature store "{self.folder}" is full, so that the other pictures are {made} each time: '
                f"raise STORE.MAX_GB ({self.max_bytes / 2**30:g})"
            )
        return self.takes_large

    def _make_room_beside(self, new):
        blocks = sorted(_blocks(self.folder))
        surplus = sum(size for _, _, size, _ in blocks) - self.max_bytes
        for _, _, size, path in blocks:
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


def _is_of_pixels(path):
    return _kind(path).startswith(PIXELS)


def _is_large(path):
    return _kind(path).startswith((PIXELS, OUTPUTS))


def _kind(path):
    return os.path.basename(os.path.dirname(path))


def _blocks(folder) -> Iterator[Tuple[bool, int, int, str]]:
    """(is of features, last use in ns, bytes, path) of every block; sorted, what goes first is first."""
    for kind in os.scandir(folder):
        if kind.is_dir():
            for entry in os.scandir(kind.path):
                if entry.name.endswith(_ENDING):
                    with contextlib.suppress(FileNotFoundError):
                        stat = entry.stat()
                        yield not _is_large(entry.path), stat.st_mtime_ns, stat.st_size, entry.path
