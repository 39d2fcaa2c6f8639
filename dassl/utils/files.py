"""Write files whole.

`trainers/` has a writer of its own, since it goes into forks, on the original Dassl, which has none.
"""

import contextlib
import itertools
import os
import re
import secrets
import socket

from dassl.utils.errors import UserError

_HOST = re.sub(r"[^A-Za-z0-9]", "", socket.gethostname()) or "host"
_TOKEN = secrets.token_hex(4)
_numbers = itertools.count()


def write_whole(path, save, mode="w", sync=False):
    """Call save(file) on a hidden temporary file and rename it to `path`: others see the old file or the whole new one.

    The folder is made if need be. Where the process is killed as it writes, the temporary file stays; its name is
    of the kind that the writer of `trainers/` knows, and the next checkpoint or record in that folder removes it.

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
        try:
            with open(temporary, mode, encoding=None if "b" in mode else "utf-8") as file:
                save(file)
                if sync:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            with contextlib.suppress(OSError):  # it is gone where all went well
                os.unlink(temporary)
    except (OSError, RuntimeError) as error:
        cause = error if isinstance(error, OSError) else error.__context__  # torch.save raises another error after it
        if not isinstance(cause, OSError):
            raise
        raise UserError(
            f"{path} cannot be written ({cause.strerror or cause}): make room or choose a folder that can be written to"
        ) from cause
