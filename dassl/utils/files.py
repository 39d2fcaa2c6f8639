"""Write files whole, and clear away what writers that were killed have left."""

import contextlib
import itertools
import os
import re
import secrets
import socket
import time

from dassl.utils.errors import UserError

_OLD = 24 * 3600  # seconds after which a temporary file is nobody's, where its process cannot be asked for
_HOST = re.sub(r"[^A-Za-z0-9]", "", socket.gethostname())
with contextlib.suppress(OSError):  # containers may share a host's name, but not its numbers of processes
    _HOST += f"x{os.stat('/proc/self/ns/pid').st_ino}"
_TOKEN = secrets.token_hex(4)  # of this process: in containers another one may have had the same number
_TEMPORARY = re.compile(r"\.([A-Za-z0-9]*)-(\d+)-([0-9a-f]{8})-\d+\.tmp")  # host, process, token
_numbers = itertools.count()
_swept = set()  # folders


def write_whole(path, save, mode="w", sync=False):
    """Call save(file) on a hidden temporary file and rename it to `path`: others see the old file or the whole new one.

    The folder is made if need be. Temporary files in it whose process is gone are removed, once in a process.

    Args:
        save: writes to the file that it is given, open in `mode`, "w" (UTF-8) or "wb".
        sync: flush to the disk before renaming, so that not even a power failure leaves a part.

    Raises ValueError, a sentence with the file and the cause, if it cannot be written (no permission, a full disk);
    nothing is left behind then, nor if `save` raises.
    """
    folder = os.path.dirname(path)
    temporary = os.path.join(folder, f".{_HOST}-{os.getpid()}-{_TOKEN}-{next(_numbers)}.tmp")
    try:
        os.makedirs(folder or ".", exist_ok=True)
        _sweep(os.path.abspath(folder))
        try:
            with open(temporary, mode, encoding=None if "b" in mode else "utf-8") as file:
                save(file)
                if sync:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            _remove(temporary)
            raise
    except (OSError, RuntimeError) as error:
        cause = error if isinstance(error, OSError) else error.__context__  # torch.save raises another error after it
        if not isinstance(cause, OSError):
            raise
        raise UserError(
            f"{path} cannot be written ({cause.strerror or cause}): make room or choose a folder that can be written to"
        ) from cause


def _sweep(folder):
    if folder in _swept:
        return
    _swept.add(folder)
    with os.scandir(folder) as entries:
        left = [(entry.path, match) for entry in entries if (match := _TEMPORARY.fullmatch(entry.name))]
    for path, match in left:
        if _is_nobodys(path, match[1], int(match[2]), match[3]):
            _remove(path)


def _is_nobodys(path, host, pid, token):
    try:
        if time.time() - os.path.getmtime(path) > _OLD:
            return True
        if host != _HOST or os.name != "posix":  # elsewhere, signal 0 would end the process
            return False
        if pid == os.getpid():
            return token != _TOKEN
        os.kill(pid, 0)
    except (FileNotFoundError, ProcessLookupError):
        return True
    except OSError:  # a process of another user
        pass
    return False


def _remove(path):
    try:
        os.unlink(path)
    except OSError:  # gone already, or not ours
        pass
