"""What every command imports first, before anything that may be missing.

Where a file of this repository is the program that runs:

- Names of files are UTF-8 whatever the locale (PEP 540), so that records and class names do not depend on it: under
  another one, Python starts anew in its UTF-8 mode. What is printed keeps the encoding of the locale.
- What nobody caught and a user can mend, such as a package that is not installed, is one sentence.
- PyTorch's threads wait for each other without keeping a core from other programs (docs/performance.md). Their runtime
  reads the environment once, when PyTorch is imported.
"""

import os
import sys

from .errors import user_error

# Looks for work before a thread goes to sleep, which takes 25 microseconds on an EPYC of 2.6 GHz: longer than the pause
# between two operations. libgomp's own 300,000 (7 ms) take more than the turns that other programs have on the cores.
SPINS = "1000"
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def _is_the_program():
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    return bool(path) and os.path.abspath(path).startswith(os.path.join(ROOT, ""))


def _go_on_in_utf8():
    if sys.getfilesystemencoding() == "utf-8" or sys.flags.utf8_mode:
        return
    encoding = getattr(sys.stdout, "encoding", "utf-8")  # None: stdout is closed
    streams = os.environ.get("PYTHONIOENCODING") or f"{encoding}:backslashreplace"
    words = getattr(sys, "orig_argv", [sys.executable, *sys.argv])[1:]  # Python 3.10; those in front of the file, too
    words = [sys.executable, "-X", "utf8", *words]  # the first -X counts
    os.execve(sys.executable, words, {**os.environ, "PYTHONUTF8": "1", "PYTHONIOENCODING": streams})


def wait_briefly(environ):
    """Set how long threads wait awake, unless somebody has said how they wait."""
    if not any(name == "OMP_WAIT_POLICY" or name.startswith(("GOMP_", "KMP_")) for name in environ):
        environ["GOMP_SPINCOUNT"] = SPINS


def _say(kind, error, trace):
    sentence = user_error(error)
    if sentence is None or os.environ.get("TRACEBACK"):
        sys.__excepthook__(kind, error, trace)
    if sentence is not None:
        print(f"error: {sentence}", file=sys.stderr)


if _is_the_program():
    _go_on_in_utf8()
    wait_briefly(os.environ)
    sys.excepthook = _say
