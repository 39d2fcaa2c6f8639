"""Copy what is printed into the run's log file."""

import os
import os.path as osp
import sys

from dassl.utils.errors import UserError
from dassl.utils.tools import mkdir_if_missing


class Logger:
    """A stand-in for `sys.stdout` that writes to the console and appends to the file `fpath`.

    Whole lines reach the file as soon as they are printed, so a killed process loses none. If the file ends
    within a line (a killed process), that line is closed first. What an encoding lacks, such as the bytes of a file
    name that is not UTF-8, is written as "\\udcff".
    """

    def __init__(self, fpath=None):
        self.console = sys.stdout
        self.file = None if fpath is None else _open_to_append(fpath)

    def write(self, msg):
        try:
            self.console.write(msg)
        except UnicodeEncodeError:
            encoding = self.console.encoding
            self.console.write(msg.encode(encoding, "backslashreplace").decode(encoding))
        if self.file is not None:
            try:
                self.file.write(msg)
            except OSError as error:
                name, self.file = self.file.name, None  # later messages reach the console
                raise UserError(
                    f"{name} cannot be written ({error.strerror or error}): make room or choose another folder"
                ) from error
        return len(msg)

    def flush(self):
        self.console.flush()
        if self.file is not None:
            self.file.flush()

    def close(self):
        """Close the file; the console stays open."""
        if self.file is not None:
            self.file.close()
            self.file = None

    def __getattr__(self, name):  # isatty, encoding, fileno, ...
        if name == "console":  # not set yet: do not look it up in itself
            raise AttributeError(name)
        return getattr(self.console, name)


def setup_logger(output=None):
    """Append all that is printed from here on to `output`/log.txt (or `output`, if it ends in .txt or .log).

    A run that was interrupted and resumed keeps its whole story in the one log.txt (Dassl would start a
    second file, which the tools that read log.txt never see). `None` changes nothing.
    """
    if output is None:
        return
    fpath = output if output.endswith((".txt", ".log")) else osp.join(output, "log.txt")
    if isinstance(sys.stdout, Logger):  # a second run in the same process
        earlier, sys.stdout = sys.stdout, sys.stdout.console
        earlier.close()
    sys.stdout = Logger(fpath)


def _open_to_append(fpath):
    mkdir_if_missing(osp.dirname(fpath))
    file = open(fpath, "a", buffering=1, encoding="utf-8", errors="backslashreplace")
    with open(fpath, "rb") as written:
        if os.fstat(written.fileno()).st_size > 0:
            written.seek(-1, os.SEEK_END)
            if written.read() != b"\n":
                file.write("\n")
    return file
