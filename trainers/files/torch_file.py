"""Read what torch.save wrote: whole, and without running code from it. What cannot be read is said in a sentence.

The same on every PyTorch, by plain_pickle.py.
"""

import contextlib
import io
import re
import struct
import sys
import warnings
import zipfile
from typing import Any, Container, Dict, Iterator

import numpy as np
import torch

from ..errors import MissingFile, UserError
from . import plain_pickle

# What a file of PyTorch before 1.6 starts with: a pickle of this number, one of the version
_LEGACY_MAGIC, _LEGACY_VERSION = 0x1950A86A20F9469CFC6C, 1001
# Integers of an element's size, which numpy has for every type of PyTorch's
_INTEGERS = {1: np.uint8, 2: np.int16, 4: np.int32, 8: np.int64}


class DamagedFile(UserError):
    """A file that is cut short, or whose content is not what was written."""


def load(
    path: str,
    what: str,
    remedy: str,
    legacy: bool = False,
    torchscript: bool = False,
    inert: Container[str] = (),
) -> Any:
    """The content of a file of torch.save, on the CPU. Every checksum in it is verified, which PyTorch does not do.

    Args:
        what: what the file is called in errors ("Checkpoint").
        remedy: what to do about one that is no use ("use another one").
        legacy: also files of PyTorch before 1.6, which hold no checksums.
        torchscript: also the state dict of a TorchScript archive (OpenAI's CLIPs).
        inert: names of classes whose objects are read as `plain_pickle.StandIn`s.

    Raises:
        MissingFile: there is no such file.
        DamagedFile: it is cut short or changed on the disk, or was never one of torch.save.
        UserError: it cannot be read as things are (no permission, a failing disk, no memory), or it is whole but
            holds something else than plain data and tensors.
    """
    name = f'{what} "{path}"'
    with _reading(name):
        with open(path, "rb") as file:
            content = io.BytesIO(file.read())
        members = _verified(content, name, remedy)
        if members:
            if any(member.endswith("/constants.pkl") for member in members):
                if not torchscript:
                    raise UserError(f"{name} is a TorchScript archive: {remedy}.")
                return _load_torchscript(path, name, remedy)
            del content
            return _load_archive(members, name, remedy, inert)
        if not content.getvalue().startswith(b"\x80"):  # a pickle's first byte
            raise _damaged(name, remedy)
        if not legacy:
            raise UserError(f"{name} is a bare pickle or of PyTorch before 1.6, which has no checksums: {remedy}.")
        return _load_legacy(content, name, remedy, inert)


def script_of(path: str) -> str:
    """The code in a TorchScript archive; "" for every other file."""
    if not zipfile.is_zipfile(path):
        return ""
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.namelist() if "/code/" in member and member.endswith(".py")]
        return "\n".join(archive.read(member).decode() for member in members)


@contextlib.contextmanager
def _reading(name: str) -> Iterator[None]:
    """Inside, what says nothing about the file itself is an error for users that does not call it damaged."""
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError as error:
        raise MissingFile(f"{name} does not exist: correct the path.") from error
    except (OSError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or str(error) or "not enough memory"
        raise UserError(f"{name} cannot be read ({reason}): mend that, or give the path of another file.") from error


def _damaged(name: str, remedy: str) -> DamagedFile:
    return DamagedFile(f"{name} is damaged (cut short, changed on the disk, or never one of torch.save): {remedy}.")


def _verified(content: io.BytesIO, name: str, remedy: str) -> Dict[str, bytearray]:
    """The members of a zip archive by their names, each checked; none if it is no zip archive."""
    with _parsing(name, remedy, _damaged(name, remedy)):
        if not zipfile.is_zipfile(content):
            return {}
        with zipfile.ZipFile(content) as archive:
            return {member.filename: bytearray(archive.read(member)) for member in archive.infolist()}


@contextlib.contextmanager
def _parsing(name: str, remedy: str, failed: UserError) -> Iterator[None]:
    """Inside, content is parsed. What a pickle wants and does not get is named; any other failure is `failed`."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except plain_pickle.Refused as error:
        raise UserError(f"{name} holds {error}, and only plain data and tensors are read: {remedy}.") from error
    except Exception as error:  # of a type for each field that may be wrong
        _refuse_no_memory(error)
        raise failed from error


def _load_archive(members: Dict[str, bytearray], name: str, remedy: str, inert: Container[str]) -> Any:
    pickles = [member for member in members if member.endswith("/data.pkl")]
    if not pickles:
        raise UserError(f"{name} is an archive that torch.save did not write: {remedy}.")
    folder = pickles[0][: -len("data.pkl")]
    if f"{folder}version" not in members:  # its last: the table of contents is short
        raise _damaged(name, remedy)
    if members.get(f"{folder}byteorder", sys.byteorder.encode()) != sys.byteorder.encode():
        raise UserError(f"{name} was written on a machine of another byte order: {remedy}.")

    def storage(key, dtype, numel):
        data = members.get(f"{folder}data/{key}")
        if data is None or len(data) != numel * _size(dtype):
            raise _damaged(name, remedy)
        return _elements(data, dtype)

    with _parsing(name, remedy, UserError(f"{name} holds something else than plain data and tensors: {remedy}.")):
        return plain_pickle.read(io.BytesIO(members[pickles[0]]), storage, inert)


def _load_legacy(content: io.BytesIO, name: str, remedy: str, inert: Container[str]) -> Any:
    """Four pickles (two numbers, the machine, the object), one of the storages' keys, and their elements."""
    storages: Dict[str, torch.Tensor] = {}

    def storage(key, dtype, numel):
        if key not in storages:
            if numel * _size(dtype) > len(content.getbuffer()):
                raise _damaged(name, remedy)
            storages[key] = torch.empty(numel, dtype=dtype)
        return storages[key]

    def nothing(*_):
        raise ValueError("a tensor where none can be")

    content.seek(0)
    with _parsing(name, remedy, _damaged(name, remedy)):
        head = [plain_pickle.read(content, nothing) for _ in range(3)]
        if head[:2] != [_LEGACY_MAGIC, _LEGACY_VERSION]:
            raise UserError(f"{name} is a pickle that torch.save did not write: {remedy}.")
        if head[2]["little_endian"] != (sys.byteorder == "little"):
            raise UserError(f"{name} was written on a machine of another byte order: {remedy}.")
        result = plain_pickle.read(content, storage, inert)
        for key in plain_pickle.read(content, nothing):
            elements = storages.pop(key)
            (numel,) = struct.unpack("<q", content.read(8))
            data = bytearray(content.read(numel * _size(elements.dtype)))
            if numel != len(elements) or len(data) != numel * _size(elements.dtype):  # copy_ spreads a single element
                raise _damaged(name, remedy)
            elements.copy_(_elements(data, elements.dtype))
        if storages:
            raise ValueError("elements are missing")
        return result


def _elements(data: bytearray, dtype: torch.dtype) -> torch.Tensor:
    """One dimension, in the memory of `data`."""
    if not data:
        return torch.empty(0, dtype=dtype)
    return torch.from_numpy(np.frombuffer(data, _INTEGERS[_size(dtype)])).view(dtype)


def _size(dtype: torch.dtype) -> int:
    return torch.empty(0, dtype=dtype).element_size()


def _load_torchscript(path: str, name: str, remedy: str) -> Any:
    try:
        with warnings.catch_warnings():  # torch.jit is deprecated, OpenAI's files are not
            warnings.simplefilter("ignore", DeprecationWarning)
            return torch.jit.load(path, map_location="cpu").state_dict()
    except (OSError, MemoryError):
        raise
    except Exception as error:
        _refuse_no_memory(error)
        raise UserError(
            f"{name} is a TorchScript archive that PyTorch {torch.__version__} cannot load: {remedy}."
        ) from error


def _refuse_no_memory(error: Exception) -> None:
    """PyTorch's allocator raises RuntimeError."""
    if isinstance(error, RuntimeError) and re.search("allocate|not enough memory|out of memory", str(error)):
        raise MemoryError("not enough memory") from error
