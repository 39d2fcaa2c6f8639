"""What harness/ and tools/ write appears whole or not at all, and a disk that cannot take it is said in a sentence.

dassl/ and trainers/ have writers of their own, as neither they nor this package may import one another.
"""

import contextlib
import errno
import os
import secrets
import stat

from .errors import UserError

REMEDY = "make room, or choose a place that can be written to"


def write_whole(path, content: bytes, remedy: str = REMEDY, temporary: str = "") -> None:
    """Let `content` take the place of the file `path` once all of it is on the disk.

    Missing folders are made. An earlier file's owner and permissions stay; a link stays and what it leads to is
    replaced; what is no file (a pipe, /dev/stdout) is written to.

    Args:
        remedy: end of the sentence of the error.
        temporary: name, in the same folder, of the file that is renamed to `path`; a random one by default.

    Raises UserError if it cannot be written. Then the earlier file is as it was, and nothing is left behind.
    """
    made = []
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            with open(path, "wb") as file:
                file.write(content)
            return
        place = os.path.realpath(path)
        folder = os.path.dirname(place)
        made = _missing(folder)
        os.makedirs(folder, exist_ok=True)
        _replace(place, content, os.path.join(folder, temporary or f".{secrets.token_hex(8)}.tmp"))
    except OSError as error:
        for each in made:
            with contextlib.suppress(OSError):
                os.rmdir(each)
        raise UserError(f"{path} cannot be written ({error.strerror or error}); {remedy}") from error


def _missing(folder) -> list[str]:
    """The folder and those around it that are not there, the inner ones first."""
    return [] if os.path.isdir(folder) else [folder, *_missing(os.path.dirname(folder))]


def _replace(path, content, temporary):
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)  # of a writer that was killed
    earlier = os.stat(path) if os.path.exists(path) else None
    if earlier and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    try:
        with open(temporary, "xb") as file:
            if earlier:
                with contextlib.suppress(OSError):  # only root may give a file away
                    os.fchown(file.fileno(), earlier.st_uid, earlier.st_gid)
                os.fchmod(file.fileno(), stat.S_IMODE(earlier.st_mode))
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    with contextlib.suppress(OSError):  # so that the new name itself survives a power failure
        descriptor = os.open(os.path.dirname(path), os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
