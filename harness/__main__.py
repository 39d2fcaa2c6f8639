"""`python harness METHOD SCRIPT [ARGUMENT ...]`: what every scripts/<method>/<script>.sh calls, and scripts/any.sh."""

import os
import sys

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
import harness.start  # noqa: E402, F401

# isort: split
from harness.errors import exit_with  # noqa: E402
from harness.running import launch, protocols, script  # noqa: E402


def main(argv, environ):
    """Become train.py, so that its exit code and Ctrl-C are the script's, or return the exit code."""
    try:
        method, name, arguments = script.of_words(argv)
        if name == protocols.REPRODUCE:
            from harness.running import reproduce  # a single run starts without it

            return reproduce.reproduce(method, arguments, environ)
        command = script.command_of(method, name, arguments, environ)
    except launch.Refused as refused:
        text = " ".join(str(refused).split())
        print(text if text.startswith("usage: ") else f"error: {text}", file=sys.stderr)
        return refused.code
    except KeyboardInterrupt:
        return 130
    if command:
        os.execv(command[0], command)
    return 0


if __name__ == "__main__":
    exit_with(lambda: main(sys.argv[1:], os.environ))
