"""What a sweep's jobs do: runs, one after the other, each a fork of a process that has loaded train.py once.

Loading PyTorch and everything else takes seconds, a fork milliseconds. A fork starts in the state of a fresh
interpreter: before it nothing is computed, no random number drawn, no GPU asked for anything.
"""

import contextlib
import gc
import importlib
import multiprocessing
import multiprocessing.connection
import os
import runpy
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NamedTuple, Optional

from . import launch, lock
from .grid import Task

CONSOLE = "console.txt"  # in a run's folder: all that it printed
SAID_OF = "run ended: "  # before folder and reason, in a worker's log
IN_USE = 75  # exit code of a run whose folder another process holds
INTERRUPTED = 130
TRAIN = os.path.join(launch.ROOT, "train.py")
_GRACE = 20  # seconds that an interrupted run has to end by itself


def load() -> Callable:
    """train.py's `main`, with all loaded that it imports, now or later."""
    # clip asks whether there is a GPU when it is imported. PyTorch's usual answer starts CUDA, which does not survive a
    # fork; this makes it ask the driver's library.
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    try:
        train = runpy.run_path(TRAIN, run_name="train")
        for name in train.get("LATER", ()):
            importlib.import_module(name)
        gc.freeze()  # so that no collection copies these pages in a fork
        return train["main"]
    finally:
        del os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"]


class Process:
    """A run in a process of its own."""

    def __init__(self, main, task: Task, environment: launch.Environment, folder: str):
        sys.stdout.flush()
        self._process = multiprocessing.get_context("fork").Process(target=_run, args=(main, task, environment, folder))
        self._process.start()

    def wait(self, *others) -> int:
        """Its exit code when it ends, 128 + n if signal n ended it; None if one of `others` can be read before."""
        while True:  # the sentinel alone is not enough: processes that a killed run leaves behind may keep it open
            ready = multiprocessing.connection.wait([self._process.sentinel, *others], timeout=1)
            code = self._process.exitcode
            if code is not None:
                return code if code >= 0 else 128 - code
            if any(other in ready for other in others):
                return None

    def stop(self):
        """Interrupt it as Ctrl-C does, so that it says what goes on, and wait until it has ended."""
        if self._process.exitcode is None:
            os.kill(self._process.pid, signal.SIGINT)
        self._process.join(_GRACE)
        self._process.kill()
        self._process.join()


def _run(main, task, environment, cwd):
    """In the fork: do a run, and say in the worker's log what it dies of, as a full disk takes nothing into its own."""
    # SIGINT comes from `stop`. What SLURM sends before it takes a job back is for the worker, which then calls `stop`.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for ignored in (signal.SIGTERM, signal.SIGUSR2, signal.SIGCONT):
        signal.signal(ignored, signal.SIG_IGN)
    os.chdir(cwd)  # relative paths among the pairs are the user's
    folder, log = task.folder(environment), os.dup(2)
    try:
        code = _run_in(folder, main, task, environment)
        sys.stdout.flush()
    except Exception as error:
        with contextlib.suppress(OSError, ValueError):  # ValueError: closed
            traceback.print_exc()
        os.dup2(log, 1)  # which takes what waits to be printed, too
        os.dup2(log, 2)
        what = f"{error.filename or CONSOLE}: {error.strerror}" if isinstance(error, OSError) else repr(error)
        os.write(log, f"\n{SAID_OF}{folder}: {what}\n".encode(errors="backslashreplace"))
        code = 1
    sys.exit(code)


def _run_in(folder, main, task, environment) -> int:
    """Take the folder, see what is to be done there, and do it; returns the exit code."""
    try:
        with lock.locked(folder):  # train.py takes it once more, which is free for the same process
            console = os.open(os.path.join(folder, CONSOLE), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            os.dup2(console, 1)
            os.dup2(console, 2)
            sys.stdout, sys.stderr = (open(n, "w", buffering=1, encoding="utf-8", closefd=False) for n in (1, 2))
            plan = launch.plan(task.job, task.pairs, environment)
            print(plan.message)
            if plan.arguments and _cuda_has_started():
                sys.stdout.flush()
                os.execv(sys.executable, [sys.executable, TRAIN, *plan.arguments])
            return 0 if plan.arguments is None else main(plan.arguments)
    except lock.Locked:
        return IN_USE
    except launch.Refused as error:
        print(f"error: {error}", file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        return INTERRUPTED


def _cuda_has_started() -> bool:
    """Whether a fork cannot use the GPU, since loading has started CUDA all the same (MIG, no NVML)."""
    torch = sys.modules.get("torch")
    return bool(torch) and torch.cuda._is_in_bad_fork()


def serve(address: str, device: Optional[str], tasks: Sequence[Task], environment: launch.Environment, cwd: str):
    """A local worker: do the runs whose numbers come through the socket, and answer with their exit codes.

    It ends when the socket does, which is when the sweep ends, however that ends. `device` is what
    CUDA_VISIBLE_DEVICES is to be, None to leave it alone.
    """
    os.setsid()  # the terminal's Ctrl-C is the sweep's
    if device is None:
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)  # submitit has set it
    else:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    main = load()
    with socket.socket(socket.AF_UNIX) as sweep:
        sweep.connect(address)
        with contextlib.suppress(ConnectionError):
            while number := sweep.recv(16):
                process = Process(main, tasks[int(number)], environment, cwd)
                code = process.wait(sweep)
                if code is None:  # the sweep has gone
                    process.stop()
                    return
                sweep.sendall(b"%d" % code)


class Chain(NamedTuple):
    """A SLURM job: a training and all that needs it, tests and students. It is called with {number: task}, in order."""

    environment: launch.Environment
    cwd: str

    def __call__(self, tasks: dict[int, Task]) -> dict[int, int]:
        """{number: exit code}; a run whose training failed is left out."""
        main, codes, left = load(), {}, set(tasks.values())
        for number, task in tasks.items():
            if task.needs in left:
                continue
            _current[:] = [Process(main, task, self.environment, self.cwd)]
            codes[number] = _current[0].wait()
            if codes[number] == 0:
                left.discard(task)
        return codes

    def checkpoint(self, tasks: dict[int, Task]):
        """submitit asks what goes on after a time-out or a preemption: the same, since runs resume by themselves."""
        from submitit.helpers import DelayedSubmission

        for process in _current:
            process.stop()
        return DelayedSubmission(self, tasks)


_current = []  # the process of a chain that runs
