"""Features of any number of pictures in one .npz file, written as they come."""

import contextlib
import os
import shutil
import tempfile
import zipfile

import numpy as np

from trainers.errors import UserError
from trainers.files.whole_files import cannot_write, write_whole


class FeaturesFile:
    """A context that writes `paths` (n,) and `features` (n, dim), float32, into `path` when it ends without an error.

    Features wait in a file without name beside it, not in memory. Raises UserError where that cannot be written.
    """

    def __init__(self, path):
        if not path.endswith(".npz"):
            raise UserError(f'Features are written in NumPy\'s format: call the file "{path}.npz".')
        self.path, self.paths, self.dim = path, [], 0

    def __enter__(self):
        try:
            self.waiting = tempfile.TemporaryFile(dir=os.path.dirname(os.path.abspath(self.path)))
        except OSError as error:
            raise cannot_write(self.path, error) from error
        return self

    def add(self, path, features):
        """features (dim,)"""
        array = np.ascontiguousarray(features, "<f4")
        self.dim = len(array)
        self.paths.append(path)
        try:
            self.waiting.write(array.tobytes())
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def __exit__(self, kind, error, trace):
        try:
            if kind is None:
                write_whole(self.path, self._write)
        finally:
            with contextlib.suppress(OSError):  # what it could not take was said before
                self.waiting.close()

    def _write(self, file):
        header = {"descr": "<f4", "fortran_order": False, "shape": (len(self.paths), self.dim)}
        self.waiting.seek(0)
        with zipfile.ZipFile(file, "w") as archive:
            with archive.open("features.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array_header_2_0(member, header)
                shutil.copyfileobj(self.waiting, member)
            with archive.open("paths.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.array(self.paths, dtype=str), allow_pickle=False)
