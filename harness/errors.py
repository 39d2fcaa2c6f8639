"""Errors that a user can mend: one sentence on stderr instead of a stack trace.

Such an error says so itself, by the attribute `for_user`: those of dassl and the data sets (`dassl.utils.errors`), of
the trainers (`trainers.errors`) and of this package. They cannot be one class, as each of these works without
the others, trainers in a fork and this package without PyTorch.
"""

import contextlib
import errno
import os
import signal
import sys
import traceback

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # what a disk says that takes no more


class UserError(ValueError):
    """A mistake that a user can mend; its text is one sentence that says what, where, and what to do."""

    for_user = True


class MissingFile(UserError, FileNotFoundError):
    """Something that should be on the disk is not."""


def user_error(error):
    """The sentence to show for `error`; None if nobody raised it for the user (a bug, then)."""
    if not getattr(error, "for_user", False):
        return None
    text = str(error)
    if text.startswith("Caught ") and "Original Traceback" in text:  # torch: raised in a data loader's worker
        text = text.rstrip().splitlines()[-1].partition(": ")[2]
    return " ".join(text.split())


def fail(error, code):
    """Print the sentence of a user's error and return `code`; raise any other error again."""
    sentence = user_error(error)
    if sentence is None:
        raise error
    if os.environ.get("TRACEBACK"):
        traceback.print_exception(type(error), error, error.__traceback__)
    print(f"error: {sentence}", file=sys.stderr)
    return code


def exit_with(main):
    """End a command with what `main` returns, and silently once nobody reads what it prints (`| head`).

    A user's error that it raises, and a full disk below its output (`> FILE`), are a sentence on stderr.
    """
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:
        code = _give_up_output(128 + signal.SIGPIPE)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in FULL and error.filename is None:  # a file has a name
            print(f"error: the output cannot be written ({error.strerror}); make room", file=sys.stderr)
            code = _give_up_output(1)
        else:
            code = fail(error, 1)
    sys.exit(code)


def _give_up_output(code):
    """Return `code`; what waits to be printed goes nowhere, or Python would say that it could not print it."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    return code
