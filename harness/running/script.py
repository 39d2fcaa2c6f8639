"""What a script of scripts/<method>/ does with its arguments: the command that it becomes, or nothing to do."""

import signal
from collections.abc import Sequence

from . import launch
from .protocols import REPRODUCE, SHOTS, STEPS, make_job, steps_of


def usage(script: str, names: str) -> str:
    return f"usage: bash {script} {names + ' ' if names else ''}[KEY VALUE ...]"


def split_arguments(script: str, names: str, arguments: Sequence[str]):
    """(values of `names`, pairs). Raises SystemExit for --help, and Refused, with the usage, if they do not fit."""
    if arguments[:1] and arguments[0] in ("-h", "--help"):
        print(usage(script, names))
        raise SystemExit(0)
    count = len(names.split())
    if len(arguments) < count or (len(arguments) - count) % 2:
        raise launch.Refused(2, usage(script, names))
    return arguments[:count], arguments[count:]


def of_words(words: Sequence[str]) -> tuple:
    """(method, name of its script, arguments). Raises Refused for what are none."""
    if len(words) < 2:
        raise launch.Refused(2, usage("scripts/any.sh", "METHOD SCRIPT [ARGUMENT ...]"))
    folder, name, *arguments = words
    if name not in (*STEPS, REPRODUCE):
        raise launch.Refused(2, f'no script "{name}"; there are {", ".join(STEPS)}, {REPRODUCE}')
    return launch.method_of(folder), name, arguments


def command_of(method, step: str, arguments: Sequence[str], environ: dict[str, str]) -> list[str]:
    """The command that a script becomes; empty if its run is finished. Raises Refused."""
    launch.need_protocol(method, STEPS[step].protocol)
    if step not in [each.script for each in steps_of(method)]:
        raise launch.Refused(2, f"{method.trainer} has no {step}.sh: xd_test.sh trains it on each target")
    script = method.script(step)
    (dataset, seed, *shots), pairs = split_arguments(script, STEPS[step].arguments, arguments)
    launch.check_pairs(pairs, script)
    seed = launch.number("SEED", seed)
    shots = launch.number("SHOTS", shots[0] if shots else environ.get("SHOTS") or str(SHOTS))
    job = make_job(step, method, dataset, seed, shots, environ.get("SOURCE") or "imagenet")
    environment = launch.read_environment(environ)
    found = launch.plan(job, pairs, environment)
    if found.teacher:
        _train(found.teacher, of_teacher(environment))
    return launch.command_of(found, environment)


def of_teacher(environment: launch.Environment) -> launch.Environment:
    """The environment that a teacher is trained in: CFG and FORCE are meant for the run that learns from it."""
    return environment._replace(cfg="", force=False)


def _train(job, environment):
    """Train, in front of the user, what a run learns from. Raises Refused if that fails."""
    print(f"first what it learns from: {job.command}, config {job.config()}", flush=True)
    command = launch.command_of(launch.plan(job, (), environment), environment)
    code = call(command) if command else 0
    if code:
        raise launch.Refused(code, f"{job.command} ended with exit code {code}; the same command goes on from there")


def call(command: list[str]) -> int:
    """Run a command; returns its exit code, 128 + n if signal n ended it. Ctrl-C is left to the command.

    After Ctrl-C the code is never 0: the user wants no further run, and an interrupted wait may lose the real code.
    """
    import subprocess  # here, since most scripts call nothing but become train.py

    process, interrupted = subprocess.Popen(command, stdin=subprocess.DEVNULL), False
    while True:
        try:
            code = process.wait()
            break
        except KeyboardInterrupt:
            interrupted = True
    if interrupted and code == 0:
        return 128 + signal.SIGINT
    return code if code >= 0 else 128 - code
