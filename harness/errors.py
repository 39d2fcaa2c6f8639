"""Errors that a user can mend: one sentence on stderr instead of a stack trace."""

import linecache
import os
import re
import sys
import traceback

REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
USER_ERRORS = (ValueError, FileNotFoundError, FloatingPointError)


def user_error(error):
    """The sentence to show for `error`; None if our code did not raise it for the user (a bug, then)."""
    if not isinstance(error, USER_ERRORS):
        return None
    text, frame = str(error), traceback.extract_tb(error.__traceback__)[-1]
    file, line = frame.filename, frame.lineno
    if text.startswith("Caught ") and "Original Traceback" in text:  # torch: raised in a data loader's worker
        file, line = re.findall(r'^ *File "(.+)", line (\d+)', text, flags=re.MULTILINE)[-1]
        text = text.rstrip().splitlines()[-1].partition(": ")[2]
    parts = os.path.relpath(file, REPOSITORY).split(os.sep)
    ours = parts[0] != os.pardir and "site-packages" not in parts  # .venv may be inside
    # int("x") in our code is a ValueError as well, but a bug
    raised = linecache.getline(file, int(line)).lstrip().startswith("raise ")
    return " ".join(text.split()) if ours and raised else None


def fail(error, code):
    """Print the sentence of a user's error and return `code`; raise any other error again."""
    sentence = user_error(error)
    if sentence is None:
        raise error
    if os.environ.get("TRACEBACK"):
        traceback.print_exception(type(error), error, error.__traceback__)
    print(f"error: {sentence}", file=sys.stderr)
    return code
