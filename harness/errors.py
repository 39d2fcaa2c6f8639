"""Errors that a user can mend: one sentence on stderr instead of a stack trace.

Such an error says so itself, by the attribute `for_user`: those of dassl and the data sets (`dassl.utils.errors`), of
the trainers (`trainers.errors`) and of this package. They cannot be one class, as each of these works without
the others, trainers in a fork and this package without PyTorch.
"""

import codecs
import contextlib
import errno
import importlib.util
import os
import signal
import sys
import traceback

PACKAGES = {  # modules that are called otherwise than what is installed
    "PIL": "pillow",
    "clip": "clip-anytorch",
    "pkg_resources": "'setuptools<81'",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # what a disk says that takes no more


class UserError(ValueError):
    """A mistake that a user can mend; its text is one sentence that says what, where, and what to do."""

    for_user = True


class MissingFile(UserError, FileNotFoundError):
    """Something that should be on the disk is not."""


def user_error(error):
    """The sentence to show for `error`; None if nobody raised it for the user (a bug, then)."""
    if not getattr(error, "for_user", False):
        return _missing_package(error)
    text = str(error)
    if text.startswith("Caught ") and "Original Traceback" in text:  # torch: raised in a data loader's worker
        text = text.rstrip().splitlines()[-1].partition(": ")[2]
    return " ".join(text.split())


def _missing_package(error):
    """A sentence if `error` comes of a package that is missing, or of another one that has the name of OpenAI's."""
    name = (isinstance(error, ImportError) and error.name) or ""
    top, _, below = name.partition(".")
    clip, files = unrelated_clip(), [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError):
        files.append(str(error.filename))
    if clip and (top == "clip" or any(file == clip or file.startswith(os.path.join(clip, "")) for file in files)):
        mend = f"pip uninstall clip, then pip install {PACKAGES['clip']}"
        return f"The package clip in {clip} is not OpenAI's CLIP: {mend}."
    if isinstance(error, ModuleNotFoundError) and top and not below:
        package = PACKAGES.get(top, top)
        return f"The package {package} is not installed (no module {top}): pip install {package}."
    return None


def unrelated_clip():
    """Where a package clip that is not OpenAI's lies; None if there is none."""
    try:
        spec = importlib.util.find_spec("clip")
    except (ImportError, ValueError):
        spec = None
    places = list((spec and spec.submodule_search_locations) or ())
    if spec is None or any(os.path.isfile(os.path.join(place, "simple_tokenizer.py")) for place in places):
        return None
    return places[0] if places else spec.origin


def bytes_of_names(error):
    """An error handler of encoders: a file name's bytes that are no text as they are, what is lacking as "\\u0142"."""
    error.end = error.start + 1
    first = error.object[error.start]
    if "\udc80" <= first <= "\udcff" and "/".encode(error.encoding) == b"/":  # not UTF-16
        return bytes([ord(first) - 0xDC00]), error.end
    return codecs.backslashreplace_errors(error)


codecs.register_error("bytes_of_names", bytes_of_names)


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

    What its output's encoding lacks is printed as "\\u0142". A user's error that it raises, and a full disk below its
    output (`> FILE`), are a sentence on stderr.
    """
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
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
