"""Read what torch.save wrote: whole, and without running code from it. What cannot be read is said in a sentence."""

import contextlib
import io
import pickle
import re
import warnings
import zipfile
from typing import Any, Iterator, List

import torch

from .errors import MissingFile, UserError


class DamagedFile(UserError):
    """A file that is cut short, or whose content is not what was written."""


def load(path: str, what: str, remedy: str, any_format: bool = False) -> Any:
    """The content of a file of torch.save, on the CPU. Every checksum in it is verified, which PyTorch does not do.

    Args:
        what: what the file is called in errors ("Checkpoint").
        remedy: what to do about one that is no use ("use another one").
        any_format: also the state dict of a TorchScript archive (OpenAI's CLIPs), and files of PyTorch before 1.6,
            which hold no checksums.

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
        verified = io.BytesIO()
        members = _copy_verified(content, verified, name, remedy)
        if members:
            if _is_torchscript(members):
                if not any_format:
                    raise UserError(f"{name} is a TorchScript archive: {remedy}.")
                return _load_torchscript(path, name, remedy)
            if not any(member.endswith("/data.pkl") for member in members):
                raise UserError(f"{name} is an archive that torch.save did not write: {remedy}.")
            if not any(member.endswith("/version") for member in members):  # its last: the table of contents is short
                raise _damaged(name, remedy)
            return _load_data(verified, name, remedy)
        if not content.getvalue().startswith(b"\x80"):  # a pickle's first byte
            raise _damaged(name, remedy)
        if not any_format:
            raise UserError(f"{name} is a bare pickle or of PyTorch before 1.6, which has no checksums: {remedy}.")
        return _load_data(content, name, remedy)


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


def _copy_verified(content: io.BytesIO, verified: io.BytesIO, name: str, remedy: str) -> List[str]:
    """Copy a zip archive member by member, each checked; returns their names, none if it is no zip archive.

    A copy, since PyTorch trusts headers that have no checksum, and zipfile others. Of a TorchScript archive, which
    PyTorch reads from the disk, nothing is copied.
    """
    try:
        if not zipfile.is_zipfile(content):
            return []
        with zipfile.ZipFile(content) as archive, zipfile.ZipFile(verified, "w") as copy:
            names = archive.namelist()
            for member in archive.infolist():
                data = archive.read(member)
                if not _is_torchscript(names):
                    copy.writestr(member.filename, data)
            return names
    except MemoryError:
        raise
    except Exception as error:  # of a type for each field that may be wrong
        raise _damaged(name, remedy) from error


def _is_torchscript(members: List[str]) -> bool:
    return any(member.endswith("/constants.pkl") for member in members)


def _load_data(content: io.BytesIO, name: str, remedy: str) -> Any:
    content.seek(0)
    try:
        return torch.load(content, map_location="cpu", weights_only=True)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # the archive is whole: it is what stands in it
        text = str(error)
        _refuse_no_memory(error, text)
        if isinstance(error, TypeError) and "weights_only" in text:
            raise UserError(
                f"{name} cannot be read safely by PyTorch {torch.__version__}: install PyTorch 2.0 or newer."
            ) from error
        if "PytorchStreamReader" in text or isinstance(error, EOFError):  # it finds less in it than zipfile does
            raise _damaged(name, remedy) from error
        found = re.search(r"(?:GLOBAL|class|function) ([\w.]+\.\w+)", text)
        if isinstance(error, pickle.UnpicklingError) and found:
            held = f"the Python object {found.group(1)}, and only plain data and tensors are read"
        else:
            held = "something else than plain data and tensors"
        raise UserError(f"{name} holds {held}: {remedy}.") from error


def _load_torchscript(path: str, name: str, remedy: str) -> Any:
    try:
        with warnings.catch_warnings():  # torch.jit is deprecated, OpenAI's files are not
            warnings.simplefilter("ignore", DeprecationWarning)
            return torch.jit.load(path, map_location="cpu").state_dict()
    except (OSError, MemoryError):
        raise
    except Exception as error:
        _refuse_no_memory(error, str(error))
        raise UserError(
            f"{name} is a TorchScript archive that PyTorch {torch.__version__} cannot load: {remedy}."
        ) from error


def _refuse_no_memory(error: Exception, text: str) -> None:
    """PyTorch's allocator raises RuntimeError."""
    if isinstance(error, RuntimeError) and re.search("allocate|not enough memory|out of memory", text):
        raise MemoryError("not enough memory") from error
