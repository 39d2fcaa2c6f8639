"""What every command imports first, before anything that may be missing.

Where a file of this repository is the program that runs:

- Names of files are UTF-8 whatever the locale (PEP 540), so that records and class names do not depend on it: under
  another one, Python starts anew in its UTF-8 mode. What is printed keeps the encoding of the locale.
- What nobody caught and a user can mend, such as a package that is not installed, is one sentence.
- PyTorch's threads wait for each other without keeping a core from other programs (docs/performance.md). Their runtime
  reads the environment once, when PyTorch is imported.
- `--methods-from FOLDER`, which every command takes, is METHOD_PATH: folders of methods outside this checkout, with ":"
  between. `--datasets-from` is DATASET_PATH, folders of data sets. What a command starts, wherever that runs, finds the
  same folders.
"""

import os
import sys

from .errors import user_error

# How often a waiting thread looks for work before it sleeps: 25 microseconds on an EPYC of 2.6 GHz, longer than the
# pause between two operations. libgomp's own 300,000 are 7 ms, longer than another program's turn on the core.
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


def _know_folders(flag_name, variable, what):
    """Before anybody reads the catalogue."""
    flag = next((i for i, word in enumerate(sys.argv) if word.partition("=")[0] == flag_name), None)
    if flag is not None:
        _, equals, value = sys.argv[flag].partition("=")
        value = value if equals else (sys.argv[flag + 1 : flag + 2] or [""])[0]
        if not value:
            sys.exit(f"error: {flag_name} needs the folder of a {what}, or several with : between")
        os.environ[variable] = value
        del sys.argv[flag : flag + (1 if equals else 2)]
    folders = os.environ.get(variable, "").split(os.pathsep)
    if any(folders):
        os.environ[variable] = os.pathsep.join(os.path.abspath(os.path.expanduser(f)) for f in folders if f)


def _say(kind, error, trace):
    sentence = user_error(error)
    if sentence is None or os.environ.get("TRACEBACK"):
        sys.__excepthook__(kind, error, trace)
    if sentence is not None:
        print(f"error: {sentence}", file=sys.stderr)


if _is_the_program():
    _go_on_in_utf8()
    wait_briefly(os.environ)
    _know_folders("--methods-from", "METHOD_PATH", "method")
    _know_folders("--datasets-from", "DATASET_PATH", "data set")
    sys.excepthook = _say
