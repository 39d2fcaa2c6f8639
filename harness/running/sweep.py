"""Many runs, several at once: each when what it needs is done, once more if it fails, and none twice at a time.

What is done is in the runs' own folders alone, so a sweep that was killed goes on with the same command, and two sweeps
of one output folder share the work: a run that another process holds is waited for.
"""

import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence

from tqdm import tqdm

from .. import records
from . import launch, lock
from .durations import Durations, in_words
from .engines import last_lines
from .grid import Task
from .worker import CONSOLE, IN_USE, SAID_OF

POLL = 1.0  # seconds
LOOK_AGAIN = 2.0  # seconds until a run that another process holds is looked at again
TRIES = 2
BAR = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{desc}"
WRONG = 2  # exit code of what is the same the second time: a config, a folder of other settings

STATES = RUNNING, WAITING, DONE, SKIPPED, FAILED, HELD = "running", "to do", "done", "skipped", "failed", "held up"


class Sweep:
    """The states of the tasks of a grid; `slots` are how many of them the engine does at once."""

    def __init__(self, tasks: Sequence[Task], environment: launch.Environment, slots: int):
        self.tasks, self.environment, self.slots = tasks, environment, slots
        self.durations = Durations(environment)
        numbers = {task: number for number, task in enumerate(tasks)}
        self._needs = [numbers.get(task.needs) for task in tasks]
        self._behind = defaultdict(list)
        for number, need in enumerate(self._needs):
            self._behind[need].append(number)
        self.states = [SKIPPED if task.is_finished(environment) else WAITING for task in tasks]
        for task, state in zip(tasks, self.states):
            if state == SKIPPED:
                self.durations.add(task)
        self._tries, self._later = Counter(), {}

    def of(self, *states) -> list[Task]:
        return [task for task, state in zip(self.tasks, self.states) if state in states]

    def elsewhere(self) -> dict[Task, str]:
        """{task: who holds it} of what other processes do just now."""
        held = {task: lock.holder(task.folder(self.environment)) for task in self.of(WAITING)}
        return {task: holder for task, holder in held.items() if holder}

    def go(self, engine) -> int:
        """Do all that is to be done; returns the exit code. Raises engines.Failed and KeyboardInterrupt."""
        print(f"{len(self.tasks)} runs, {len(self.of(SKIPPED))} finished before", flush=True)
        # disable=None: no bar without a terminal
        self._bar = tqdm(total=len(self.tasks), initial=len(self.of(SKIPPED)), disable=None, bar_format=BAR)
        try:
            while self.of(WAITING, RUNNING):
                batches = self._batches(engine)
                if batches:
                    engine.start(batches)
                self._show()
                for number, code in engine.poll(POLL):
                    self._settle(number, code, engine)
        except KeyboardInterrupt:
            self._say(f"stopping {len(self.of(RUNNING))} runs ...")
            raise
        finally:
            engine.stop()
            self._show()
            self._bar.close()
        return self._summary()

    # ---- what to start ----

    def _batches(self, engine) -> list[list[int]]:
        """Runs to start now, each with what needs it if the engine takes chains."""
        batches, now = [], time.monotonic()
        for number, state in enumerate(self.states):
            if len(batches) == engine.free:
                break
            if state != WAITING or not self._may_start(number) or self._later.get(number, 0) > now:
                continue
            batch = [number]
            if self._is_elsewhere(number):
                continue
            if engine.chains:
                batch = self._chain(number)
            for one in batch:
                self.states[one] = RUNNING
            batches.append(batch)
        return batches

    def _chain(self, number) -> list[int]:
        """A task and all that waits for it, directly or not, in order."""
        behind = [one for one in self._behind[number] if self.states[one] == WAITING]
        return sorted({number, *(one for each in behind for one in self._chain(each))})

    def _may_start(self, number) -> bool:
        need = self._needs[number]
        if need is not None and self.states[need] in (FAILED, HELD):
            self.states[number] = HELD
            self._bar.update()
        return need is None or self.states[need] in (DONE, SKIPPED)

    def _is_elsewhere(self, number) -> bool:
        """Whether another process does this run, or has done it since it was last found there."""
        holder = lock.holder(self.tasks[number].folder(self.environment))
        if holder:
            if number not in self._later:
                self._say(f"waiting: {holder}")
            self._later[number] = time.monotonic() + LOOK_AGAIN
            return True
        if number in self._later and self.tasks[number].is_finished(self.environment):
            self._settle(number, 0, None)
            return True
        return False

    # ---- what has ended ----

    def _settle(self, number, code, engine):
        task = self.tasks[number]
        if code == 0 or task.is_finished(self.environment):  # its worker may have been killed before it could tell
            self.states[number] = DONE
            self.durations.add(task)
            self._report(number, "done", self._result(task))
        elif code in (None, IN_USE):
            self.states[number] = WAITING
        else:
            self._tries[number] += 1
            again = code != WRONG and self._tries[number] < TRIES
            self.states[number] = WAITING if again else FAILED
            if again:
                self._say(f"exit code {code}, once more: {task}")
            else:
                self._report(number, "FAILED", *self._said(task, code, engine.log(number)))

    def _said(self, task, code, log) -> list[str]:
        """What a run has ended with, and the last lines of its console and, as far as they are of it, its worker's."""
        folder = task.folder(self.environment)
        console, worker = last_lines(f"{folder}/{CONSOLE}"), last_lines(log)
        mark = f"{SAID_OF}{folder}: "
        if console and code < 128:
            worker = [line for line in worker if line.startswith(mark)][-1:]
        signaled = f" ({signal.strsignal(code - 128)})" if 128 < code < 128 + signal.NSIG else ""
        lines = [*console, *(line.replace(mark, "") for line in worker if " INFO (" not in line)]
        return [f"exit code {code}{signaled}, {folder}/{CONSOLE}{':' if lines else ' says nothing'}", *lines]

    def _result(self, task) -> str:
        record = records.record_of(task.folder(self.environment))
        parts = [f"{record['accuracy']:.2f} %"] if records.is_tested(record) else []
        return ", ".join(parts + ([in_words(record["seconds"])] if "seconds" in record else []))

    # ---- what is said ----

    def _say(self, *lines):
        for line in lines:
            tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()

    def _report(self, number, word, what, *lines):
        self._bar.update()
        ended = len(self.tasks) - len(self.of(WAITING, RUNNING))
        line = f"[{ended} of {len(self.tasks)}] {word}: {self.tasks[number]}" + (f", {what}" if what else "")
        if self._bar.disable:
            line += f"  ({self._counts()})"
        self._say(line, *(f"    {text}" for text in lines))

    def _counts(self) -> str:
        counts = Counter(self.states)
        seconds, unknown = self.durations.total(self.of(WAITING, RUNNING))
        words = [f"{state} {counts[state]}" for state in STATES if counts[state]]
        if seconds:
            words.append(f"ETA {in_words(seconds / self.slots)}" + (f" and {unknown} unknown" if unknown else ""))
        return ", ".join(words)

    def _show(self):
        if not self._bar.disable:
            self._bar.set_description_str(f" {self._counts()}")

    def _summary(self) -> int:
        counts = Counter(self.states)
        words = [f"{counts[state]} {state}" for state in (DONE, SKIPPED, FAILED, HELD) if counts[state]]
        print(f"{len(self.tasks)} runs: {', '.join(words)}")
        for task in self.of(FAILED):
            print(f"failed: {task}: {task.folder(self.environment)}/{CONSOLE}", file=sys.stderr)
        for task in self.of(HELD):
            print(f"not run, since its training failed: {task}", file=sys.stderr)
        return 1 if counts[FAILED] else 0

    def preview(self):
        """Print what would run, what is done, and how long the rest takes."""
        elsewhere = self.elsewhere()
        for task, state in zip(self.tasks, self.states):
            state = "in use" if task in elsewhere else "done" if state == SKIPPED else state
            print(f"{state:8}{task}{''.join(f' {text}' for text in task.pairs)}")
        left = self.of(WAITING)
        seconds, unknown = self.durations.total(left)
        in_use = f", {len(elsewhere)} of them in use" if elsewhere else ""
        print(f"{len(self.tasks)} runs: {len(self.tasks) - len(left)} done, {len(left)} to do{in_use}")
        if unknown < len(left):
            print(f"about {seconds / 3600 / self.slots:.2f} hours, {self.slots} at once", end="")
            print(f"; not in it: {unknown} runs of whose kind none is finished" if unknown else "")
        elif left:
            print("no estimate: none of their kind is finished")
