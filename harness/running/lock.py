"""One process at a time in a run's folder.

The lock is the kernel's, on the file `.lock`, so it ends with its holder however that ends; the file says who that is.
It is the process's alone (lockf): flock's would live on in the workers of a killed run's data loader. On a shared file
system it needs locks that work across hosts, as NFS 4 and Lustre mounted with `-o flock` have them; where there are
none at all, a line says so and the run goes on without.
"""

import contextlib
import errno
import fcntl
import json
import os
import socket
import tempfile
import time

NAME = ".lock"
_UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)


class Locked(Exception):
    """A sentence for the user: who holds the folder."""


@contextlib.contextmanager
def locked(folder):
    """Hold `folder` inside the block; it is made if need be. Raises Locked, and OSError if it cannot be written to."""
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, NAME), "a+", encoding="utf-8") as file:
        try:
            if not _take(file):
                time.sleep(0.1)  # somebody may only be asking for the `holder`
                if not _take(file):
                    raise Locked(_sentence(folder, file))
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            print(f"Note: {folder} is on a file system without locks, so two runs in it would not see each other")
        _note(file, {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")})
        try:
            yield
        finally:
            _note(file, {})  # a holder that is killed leaves its name, which nobody reads without its lock


def holder(folder) -> str:
    """The sentence that says which other, living process holds `folder`; empty if none does.

    Not for a process that holds it itself: closing the file would give the lock away.
    """
    try:
        with open(os.path.join(folder, NAME), "r+", encoding="utf-8") as file:
            return "" if _take(file) else _sentence(folder, file)
    except OSError:  # nobody was ever there, or there are no locks
        return ""


def works_in(folder) -> bool:
    """Whether the file system of a folder has locks, by one on a file that is gone afterwards. Raises OSError."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", dir=folder) as file:
        try:
            return _take(file)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            return False


def _take(file) -> bool:
    """Whether the lock is now this process's, until it closes the file."""
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _note(file, holder):
    with contextlib.suppress(OSError):  # a full disk: the lock holds without it
        file.seek(0)
        file.truncate()
        file.write(json.dumps(holder))
        file.flush()


def _sentence(folder, file):
    try:
        file.seek(0)
        holder = json.load(file)
        who = f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (ValueError, TypeError, KeyError):  # it is just writing this
        who = "another process"
    return f"{folder} is in use by {who}: wait until it ends or stop it, or choose another folder for this run."
