"""Read what torch.save wrote: whole, and without running code from it. What cannot be read is said in a sentence.

The same on every PyTorch, by plain_pickle.py, which bounds what a pickle costs. Of the rest, nothing is larger than the
file is: the members of an archive together, and the storages that an older file declares before their elements come.
"""

import contextlib
import io
import os
import re
import struct
import sys
import zipfile
from typing import IO, Any, Callable, Container, Dict, Iterator

import numpy as np
import torch

from ..errors import MissingFile, UserError
from . import plain_pickle

# What a file of PyTorch before 1.6 starts with: a pickle of this number, one of the version
_LEGACY_MAGIC, _LEGACY_VERSION = 0x1950A86A20F9469CFC6C, 1001
# Integers of an element's size, which numpy has for every type of PyTorch's
_INTEGERS = {1: np.uint8, 2: np.int16, 4: np.int32, 8: np.int64}
_DEFLATED = 16  # bytes that one byte of code in a TorchScript archive may stand for; nothing else is deflated
# How that code says which attributes of a module are in its state dict; no search goes beyond two lines
_MODULE = re.compile(r"class (\w+)\(Module\):\n  __parameters__ = \[(.*)\]\n(?:  __buffers__ = \[(.*)\])?")


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
        if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):  # a pipe has no end
            raise UserError(f"{name} is no regular file: {remedy}.")
        with open(path, "rb", buffering=0) as file:
            first = file.read(1)
            if first not in (b"P", b"\x80"):  # an archive's, a pickle's: others, of any size, are not read
                raise _damaged(name, remedy)
            file.seek(0)
            content = io.BytesIO(file.read())
        with _damaged_if_it_fails(name, remedy):
            members = _unzipped(content, lambda member: not member.endswith(".debug_pkl"))
        if members:
            del content
            if not any(member.endswith("/constants.pkl") for member in members):
                return _load_archive(members, name, remedy, inert)
            if not torchscript:
                raise UserError(f"{name} is a TorchScript archive: {remedy}.")
            return _load_torchscript(members, name, remedy)
        if first == b"P":
            raise _damaged(name, remedy)
        if not legacy:
            raise UserError(f"{name} is a bare pickle or of PyTorch before 1.6, which has no checksums: {remedy}.")
        return _load_legacy(content, name, remedy, inert)


def script_of(path: str) -> str:
    """The code in a TorchScript archive; "" for every other file, and for one that `load` does not read."""
    try:
        with open(path, "rb") as file:
            return "\n".join(code.decode() for code in _unzipped(file, _is_code).values())
    except Exception:  # as in _damaged_if_it_fails
        return ""


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


def _is_code(member: str) -> bool:
    return "/code/" in member and member.endswith(".py")


def _unzipped(file: IO[bytes], wanted: Callable[[str], bool]) -> Dict[str, bytearray]:
    """Members of a zip archive by their names, each checked; none if it is no archive. Fails for what torch.save does
    not write: members that are compressed, of one name, or, overlapping, together larger than the file.
    """
    if not zipfile.is_zipfile(file):
        return {}
    size = file.seek(0, io.SEEK_END)
    with zipfile.ZipFile(file) as archive:
        members = {member.filename: member for member in archive.infolist() if wanted(member.filename)}
        for name, member in members.items():
            deflated = _is_code(name) and member.compress_type == zipfile.ZIP_DEFLATED
            if member.compress_type != zipfile.ZIP_STORED and not deflated:
                raise ValueError("compressed")
            size -= member.file_size // (_DEFLATED if deflated else 1)
        if size < 0 or len(set(archive.namelist())) < len(archive.namelist()):
            raise ValueError("members that torch.save does not write")
        found = {}
        for name, member in members.items():
            with archive.open(member) as content:
                found[name] = bytearray(content.read(member.file_size))  # inflates no more than that
        return found


@contextlib.contextmanager
def _damaged_if_it_fails(name: str, remedy: str) -> Iterator[None]:
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:  # of a type for each field that may be wrong
        _refuse_no_memory(error)
        raise _damaged(name, remedy) from error


def _load_archive(members: Dict[str, bytearray], name: str, remedy: str, inert: Container[str]) -> Any:
    pickles = [member for member in members if member.endswith("/data.pkl")]
    if not pickles:
        raise UserError(f"{name} is an archive that torch.save did not write: {remedy}.")
    folder = pickles[0][: -len("data.pkl")]
    if not {f"{folder}version", f"{folder}.data/version"} & members.keys():  # its last: the table of contents is short
        raise _damaged(name, remedy)
    if members.get(f"{folder}byteorder", sys.byteorder.encode()) != sys.byteorder.encode():
        raise UserError(f"{name} was written on a machine of another byte order: {remedy}.")

    def storage(key, dtype, numel):
        data = members.get(f"{folder}data/{key}")
        if data is None or len(data) != numel * _size(dtype):
            raise _damaged(name, remedy)
        return _elements(data, dtype)

    with _naming_what_it_holds(name, remedy):
        return plain_pickle.read(io.BytesIO(members[pickles[0]]), storage, inert)


def _load_torchscript(members: Dict[str, bytearray], name: str, remedy: str) -> Dict[str, torch.Tensor]:
    """The state dict. Of the code nothing is run: it says which attributes of a class are parameters and buffers."""
    kept = {}  # by the name of the class; members are such as <name>/code/__torch__/torch/nn/modules/linear.py
    for member in filter(_is_code, members):
        module = member.split("/code/", 1)[1][: -len(".py")].replace("/", ".")
        for kind, *names in _MODULE.findall(members[member].decode(errors="replace")):
            kept[f"{module}.{kind}"] = set(re.findall(r'"(\w+)"', ",".join(names)))
    found, waiting = {}, [("", _load_archive(members, name, remedy, inert=kept))]
    most = 8 * sum(map(len, members.values())) + 2**20
    with _naming_what_it_holds(name, remedy):
        while waiting:
            prefix, module = waiting.pop()
            for key, value in module.state.items():
                most -= len(prefix) + 1
                if isinstance(value, plain_pickle.StandIn):
                    waiting.append((f"{prefix}{key}.", value))
                elif isinstance(value, torch.Tensor) and key in kept[module.name]:
                    found[f"{prefix}{key}"] = value
                    most -= value.numel() * value.element_size()
                if most < 0:  # modules that hold one another, over and over
                    raise plain_pickle.Refused(plain_pickle.UNFOLDS)
    return found


def _load_legacy(content: io.BytesIO, name: str, remedy: str, inert: Container[str]) -> Any:
    """Four pickles (two numbers, the machine, the object), one of the storages' keys, and their elements."""
    storages: Dict[str, torch.Tensor] = {}
    left = len(content.getbuffer())

    def storage(key, dtype, numel):
        nonlocal left
        left -= numel * _size(dtype)
        if left < 0:
            raise _damaged(name, remedy)
        storages[key] = torch.empty(numel, dtype=dtype)
        return storages[key]

    def nothing(*_):
        raise plain_pickle.Refused("a tensor in its head")

    content.seek(0)
    with _damaged_if_it_fails(name, remedy):
        head = [plain_pickle.read(content, nothing) for _ in range(3)]
        if head[:2] != [_LEGACY_MAGIC, _LEGACY_VERSION]:
            raise UserError(f"{name} is a pickle that torch.save did not write: {remedy}.")
        if head[2]["little_endian"] != (sys.byteorder == "little"):
            raise UserError(f"{name} was written on a machine of another byte order: {remedy}.")
        with _naming_what_it_holds(name, remedy, damaged=True):
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


@contextlib.contextmanager
def _naming_what_it_holds(name: str, remedy: str, damaged: bool = False) -> Iterator[None]:
    """Inside, a pickle is read. damaged: one that is not well formed is, since no checksum says otherwise."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except plain_pickle.Refused as error:
        raise UserError(f"{name} holds {error}, and only plain data and tensors are read: {remedy}.") from error
    except Exception as error:
        _refuse_no_memory(error)
        if damaged:
            raise
        raise UserError(f"{name} holds something else than plain data and tensors: {remedy}.") from error


def _refuse_no_memory(error: Exception) -> None:
    """PyTorch's allocator raises RuntimeError."""
    if isinstance(error, RuntimeError) and re.search("allocate|not enough memory|out of memory", str(error)):
        raise MemoryError("not enough memory") from error
