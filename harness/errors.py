"""Errors that a user can mend: one sentence on stderr instead of a stack trace.

Such an error says so itself, by the attribute `for_user`: those of dassl and the data sets (`dassl.utils.errors`), of
the trainers (`trainers.errors`) and of this package. They cannot be one class, as each of these works without
the others, trainers in a fork and this package without PyTorch.
"""

import codecs
import importlib.util
import os
import re
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
    """A sentence if `error` is of an import that fails since a package is missing, or another one has its name."""
    traces = traceback.extract_tb(error.__traceback__)
    files = [frame.filename for frame in traces] + [getattr(error, "filename", None) or ""]
    if any("clip" in re.split(r"[/\\.]", str(file))[-3:-1] for file in files) and not _is_openais("clip"):
        name = "clip.model"  # whatever an unrelated one dies of
    elif isinstance(error, ImportError) and error.name:
        name = error.name
    else:
        return None
    top, _, below = name.partition(".")
    package = PACKAGES.get(top, top)
    if isinstance(error, ModuleNotFoundError) and not below and top not in sys.modules:
        return f"The package {package} is not installed (no module {top}): pip install {package}."
    if top == "clip" and not _is_openais(top):
        return (
            f"The package clip is not OpenAI's CLIP, but an unrelated one: pip uninstall clip, pip install {package}."
        )
    return None


def _is_openais(clip):
    try:
        places = importlib.util.find_spec(clip).submodule_search_locations
    except (AttributeError, ImportError, ValueError):
        return False
    return any(os.path.isfile(os.path.join(place, "simple_tokenizer.py")) for place in places or ())


def bytes_of_names(error):
    """An error handler of encoders: a file name's bytes that are no text as they are, what is lacking as "\\u0142"."""
    first = error.object[error.start]
    if "\udc80" <= first <= "\udcff":
        return bytes([ord(first) - 0xDC00]), error.start + 1
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

    What its output's encoding lacks is printed as "\\u0142".
    """
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:
        code = 128 + signal.SIGPIPE
    sys.exit(code)
