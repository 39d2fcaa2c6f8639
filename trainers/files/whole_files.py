"""Files are written whole or not at all, and a disk that cannot take them is said in a sentence."""

import contextlib
import errno
import itertools
import os
import re
import secrets
import socket
import threading
from typing import IO, Any, Callable, Iterator

from ..errors import UserError

_HOST = re.sub(r"[^A-Za-z0-9]", "", socket.gethostname()) or "host"
_TOKEN = secrets.token_hex(4)  # of this process: an earlier one may have had the same number
_TEMPORARY = re.compile(r"\.([A-Za-z0-9]+)-(\d+)-([0-9a-f]{8})-\d+\.tmp")  # host, process, token
_numbers = itertools.count()

# Errors of a full or read-only disk, which only writing meets
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def write_whole(path: str, save: Callable[[IO[bytes]], Any]) -> None:
    """Call save(binary file) on a temporary file in the same folder that takes the place of `path` once it is on disk.

    Others see the old file or the whole new one. The folder is made if need be, and what writers that were killed
    have left in it is removed. Raises UserError, with the file and the cause, if it cannot be written; then, and if
    `save` raises, nothing is left behind and the old file is as it was.
    """
    folder = os.path.dirname(path) or "."
    temporary = os.path.join(folder, f".{_HOST}-{os.getpid()}-{_TOKEN}-{next(_numbers)}.tmp")
    try:
        os.makedirs(folder, exist_ok=True)
        _sweep(folder)
        try:
            with open(temporary, "wb") as file:
                save(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            _remove(temporary)
            raise
    except OSError as error:
        raise cannot_write(path, error) from error
    _sync_folder(folder)


@contextlib.contextmanager
def disk_errors(folder: str) -> Iterator[None]:
    """Inside, a full or read-only disk is a UserError, whatever was being written there (a log, curves)."""

    def is_disk(error):
        return isinstance(error, OSError) and error.errno in _DISK

    def of_a_thread(args):  # tensorboard raises what its writing thread meets once more in the main one
        if not is_disk(args.exc_value):
            earlier(args)

    earlier, threading.excepthook = threading.excepthook, of_a_thread
    try:
        yield
    except OSError as error:
        if not is_disk(error):
            raise
        raise cannot_write(str(error.filename or folder), error) from error
    finally:
        threading.excepthook = earlier


def cannot_write(path: str, cause: OSError) -> UserError:
    """The error for users of a file that cannot be written."""
    remedy = "choose an OUTPUT_DIR that can be written to"
    if cause.errno in (errno.ENOSPC, errno.EDQUOT):
        remedy = "make room, or choose an OUTPUT_DIR on another disk"
    return UserError(f'"{path}" cannot be written ({cause.strerror or cause}): {remedy}.')


def _sweep(folder: str) -> None:
    try:
        names = os.listdir(folder)
    except OSError:  # one may be allowed to write there and not to look
        return
    for name in names:
        match = _TEMPORARY.fullmatch(name)
        if match and _is_nobodys(match.group(1), int(match.group(2)), match.group(3)):
            _remove(os.path.join(folder, name))


def _is_nobodys(host: str, pid: int, token: str) -> bool:
    if host != _HOST or os.name != "posix":  # elsewhere, signal 0 would end the process
        return False
    if pid == os.getpid():
        return token != _TOKEN
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):  # gone; no process has such a number
        return True
    except OSError:  # a process of another user
        pass
    return False


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):  # gone already, or not ours
        os.unlink(path)


def _sync_folder(folder: str) -> None:
    """Make the new name itself survive a power failure, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
