"""Where the runs of a sweep are done: on this machine, or as SLURM's jobs; both by submitit.

An engine takes batches of runs, by their numbers, and tells which have ended:

    engine.chains           whether a batch is a training with the tests behind it, or a single run
    engine.free             how many more batches it takes now
    engine.start(batches)
    engine.poll(seconds)    [(number, exit code)] of what ended within so many seconds; None: it was not run
    engine.log(number)      where to look if a run has ended before it could say anything
    engine.stop()           ends what runs
"""

import contextlib
import multiprocessing.connection
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from typing import NamedTuple, Optional

import submitit
from submitit.core.utils import FailedJobError, environment_variables

from . import launch
from .grid import Task
from .worker import Chain, serve

KILLED = 128 + signal.SIGKILL
LAST_LINES = 8


class Failed(Exception):
    """A sentence: why the engine cannot work."""


@contextlib.contextmanager
def _at_home():
    """Jobs start in the checkout, which is how they find this package, and do not hear the terminal's Ctrl-C."""
    before, here = signal.signal(signal.SIGINT, signal.SIG_IGN), os.getcwd()
    os.chdir(launch.ROOT)
    try:
        yield
    finally:
        os.chdir(here)
        signal.signal(signal.SIGINT, before)


def last_lines(path, count: int = LAST_LINES) -> list[str]:
    """The last lines of a log that say something; of a progress bar its last state."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = [line.rstrip().rpartition("\r")[2] for line in file.read()[-20_000:].split("\n")]
    except OSError:
        return []
    return [line for line in lines if line.strip()][-count:]


# ---- this machine --------------------------------------------------------------------------------------------------


def devices() -> list[Optional[str]]:
    """A value of CUDA_VISIBLE_DEVICES for each GPU that may be used; [None] if no GPU is known."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return visible.split(",")
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return [None]
    return [str(i) for i in range(sum(line.startswith("GPU ") for line in listed.splitlines()))] or [None]


class _Worker:
    """A submitit job that does one run after the other, and the socket to it."""

    def __init__(self, address: str):
        self.address, self.number = address, None
        self.job = self.server = self.socket = None

    def begin(self, executor, *arguments):
        self.end()
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(self.address)
        self.server.listen(1)
        with _at_home():
            self.job = executor.submit(serve, self.address, *arguments)

    def give(self, number: int):
        self.number = number
        if self.socket:
            with contextlib.suppress(OSError):  # it is dead, and `answer` says so
                self.socket.sendall(b"%d" % number)

    def answer(self) -> Optional[int]:
        """The exit code of its run; None if it has only begun. Raises EOFError if it is dead."""
        if not self.socket:
            self.socket, _ = self.server.accept()
            self.give(self.number)
            return None
        try:
            return int(self.socket.recv(16) or b"dead")
        except (OSError, ValueError):
            raise EOFError from None

    def end(self):
        """Close the socket, which the worker sees."""
        for one in (self.socket, self.server):
            if one:
                one.close()
        self.socket = self.server = None
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.address)


class Local:
    """As many runs at once as there are `slots`: values of CUDA_VISIBLE_DEVICES, None for a CPU."""

    chains = False

    def __init__(self, tasks: Sequence[Task], environment: launch.Environment, slots: Sequence[Optional[str]]):
        self._folder = tempfile.mkdtemp(prefix="sweep-")  # sockets need short paths
        self._executor = submitit.LocalExecutor(folder=os.path.join(self._folder, "jobs"))
        self._executor.update_parameters(timeout_min=60 * 24 * 365, stderr_to_stdout=True)
        self._slots = slots
        self._arguments = tasks, environment, os.getcwd()
        self._workers = [_Worker(os.path.join(self._folder, str(i))) for i in range(len(slots))]
        self._stillborn = 0  # workers in a row that ended before they took a run
        self._logs = {}  # number -> its worker's

    @property
    def free(self) -> int:
        return sum(worker.number is None for worker in self._workers)

    def start(self, batches):
        idle = (worker for worker in self._workers if worker.number is None)
        for (number,), worker in zip(batches, idle):
            worker.give(number)
            if not worker.job:
                self._begin(worker)

    def _begin(self, worker):
        # several runs with a thread for each core would wait for each other
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        threads = {"OMP_NUM_THREADS": str(max(1, cores // len(self._slots)))}
        shared = len(self._slots) > 1 and "OMP_NUM_THREADS" not in os.environ
        with environment_variables(**threads if shared else {}):
            worker.begin(self._executor, self._slots[self._workers.index(worker)], *self._arguments)

    def poll(self, seconds: float) -> list:
        busy = [worker for worker in self._workers if worker.number is not None]
        by_socket = {worker.socket or worker.server: worker for worker in busy}
        ready = multiprocessing.connection.wait(list(by_socket), timeout=seconds)
        ended = []
        for worker in (by_socket[one] for one in ready):
            self._logs[worker.number] = worker.job.paths.stdout
            try:
                code = worker.answer()
            except EOFError:
                code = KILLED
                worker.end()
                worker.job = None
            self._stillborn = 0
            if code is not None:
                ended.append((worker.number, code))
                worker.number = None
        for worker in busy if not ready else ():
            if not worker.socket and worker.job.done():
                self._again(worker)
        return ended

    def log(self, number: int) -> str:
        return self._logs.get(number, "")

    def _again(self, worker):
        self._stillborn += 1
        if self._stillborn == 3:
            said = " / ".join(last_lines(worker.job.paths.stdout, 3))
            raise Failed(f"no worker starts on this machine: {said}")
        self._begin(worker)

    def stop(self):
        jobs = [worker.job for worker in self._workers if worker.job]
        for worker in self._workers:
            worker.end()  # which a worker sees, and interrupts its run
        give_up = time.monotonic() + 60
        while not all(job.done() for job in jobs) and time.monotonic() < give_up:
            time.sleep(0.02)
        shutil.rmtree(self._folder, ignore_errors=True)


# ---- SLURM ---------------------------------------------------------------------------------------------------------


class SlurmOptions(NamedTuple):
    """What each job asks for. What is None is left to the cluster, and to sbatch's own variables (SBATCH_QOS, ...)."""

    partition: Optional[str] = None
    account: Optional[str] = None
    time: int = 240  # minutes
    memory: Optional[int] = None  # GB
    gpus: int = 1
    cpus: Optional[int] = None
    jobs: int = 256  # at once


class Slurm:
    """Job arrays, a task for each chain. Jobs outlive the sweep unless it stops them."""

    chains = True
    array_size = 1000  # SLURM's MaxArraySize is 1001 unless a cluster says otherwise
    requeues = 20  # after time-outs: a run that saves nothing within --time must end some day
    look_seconds, queue_seconds = 2, 10  # between looks at the jobs' files, and questions to the queue

    def __init__(self, tasks: Sequence[Task], environment: launch.Environment, options: SlurmOptions):
        self._tasks, self._environment = tasks, environment
        self._chain = Chain(environment, os.getcwd())
        self._jobs = {}  # job -> numbers that have not ended
        self._logs, self._gone, self._asked = {}, set(), 0.0
        if not shutil.which("srun"):
            raise Failed("there is no SLURM here (srun is not found); leave out --engine slurm")
        shared = os.path.join(environment.output, ".sweep")  # on a file system that the nodes see
        os.makedirs(shared, exist_ok=True)
        self._folder = tempfile.mkdtemp(dir=shared)
        self._executor = submitit.SlurmExecutor(folder=self._folder, max_num_timeout=self.requeues)
        asked = {
            "partition": options.partition,
            "account": options.account,
            "mem": options.memory,
            "gpus_per_node": options.gpus or None,
            "cpus_per_task": options.cpus,
            "srun_args": [f"--cpus-per-task={options.cpus}"] if options.cpus else None,  # srun does not inherit it
        }
        self._executor.update_parameters(
            job_name="sweep",
            time=options.time,
            array_parallelism=options.jobs,
            stderr_to_stdout=True,
            **{key: value for key, value in asked.items() if value is not None},
        )

    @property
    def free(self) -> int:
        return self.array_size

    def start(self, batches):
        try:
            with _at_home(), contextlib.redirect_stderr(None):  # what sbatch says is in the error, too
                chains = [{number: self._tasks[number] for number in batch} for batch in batches]
                jobs = self._executor.map_array(self._chain, chains)
        except FailedJobError as error:
            raise Failed(f"sbatch refuses the jobs: {' '.join(str(error).split())}") from None
        for job, numbers in zip(jobs, batches):
            self._jobs[job] = list(numbers)
            self._logs.update(dict.fromkeys(numbers, job.paths.stdout))

    def poll(self, seconds: float) -> list:
        time.sleep(max(seconds, self.look_seconds))
        ended, over = [], self._gone_without_result()
        for job, left in self._jobs.items():
            while left and self._tasks[left[0]].is_finished(self._environment):
                ended.append((left.pop(0), 0))
            if job.paths.result_pickle.exists():
                try:
                    codes = job.result()
                except Exception:  # whatever it was is in the job's log
                    codes = dict.fromkeys(left[:1], 1)
            elif job in over:
                codes = dict.fromkeys(left[:1], KILLED)
            else:
                continue
            over.add(job)
            ended += [(number, codes.get(number)) for number in left]
        self._jobs = {job: left for job, left in self._jobs.items() if job not in over}
        return ended

    def _gone_without_result(self) -> set:
        """Jobs that the queue no longer has, twice in a row: a result may take its time on a shared file system.

        squeue knows this on every cluster; sacct, which submitit asks, needs a database that small ones lack.
        """
        if time.monotonic() < self._asked + self.queue_seconds:
            return set()
        self._asked = time.monotonic()
        command = ["squeue", "--me", "--noheader", "--array", "--format=%i"]
        queue = subprocess.run(command, capture_output=True, text=True)
        if queue.returncode:  # the controller does not answer; it will
            return set()
        gone = {job for job in self._jobs if job.job_id not in queue.stdout.split()}
        twice, self._gone = gone & self._gone, gone
        return twice

    def log(self, number: int) -> str:
        return self._logs.get(number, "")

    def stop(self):
        ids = [job.job_id for job, left in self._jobs.items() if left]
        if ids:
            subprocess.run(["scancel", *ids], capture_output=True)
            return  # their logs stay
        give_up = time.monotonic() + 60
        while self._jobs and time.monotonic() < give_up:  # a run may be done a moment before its job is
            self.poll(0)
        if not self._jobs:
            shutil.rmtree(self._folder, ignore_errors=True)
