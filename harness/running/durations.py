"""How long runs take, from what the finished ones of their kind took; their records say it."""

import statistics
from collections import defaultdict
from collections.abc import Iterable
from typing import Optional

from .. import records
from . import launch
from .grid import Task


class Durations:
    """Seconds that runs took, by kind: what differs in the seed; if there is none, in the data set, too."""

    def __init__(self, environment: launch.Environment):
        self._environment = environment
        self._seconds = defaultdict(list)

    def add(self, task: Task):
        """Take in a finished task."""
        seconds = records.record_of(task.folder(self._environment)).get("seconds")
        if seconds is not None:
            for kind in self._kinds(task):
                self._seconds[kind].append(seconds)

    def of(self, task: Task) -> Optional[float]:
        known = (self._seconds[kind] for kind in self._kinds(task) if kind in self._seconds)
        return next((statistics.median(seconds) for seconds in known), None)

    def total(self, tasks: Iterable[Task]) -> tuple[float, int]:
        """The sum of the seconds that are known, and of how many tasks they are not."""
        each = [self.of(task) for task in tasks]
        return sum(seconds for seconds in each if seconds is not None), each.count(None)

    @staticmethod
    def _kinds(task):
        method, step, dataset = (task.job.method.folder, task.job.teaches), task.job.step.script, task.job.dataset
        return (method, step, dataset, task.job.source, task.job.shots), (method, step, task.job.shots)


def in_words(seconds: float) -> str:
    """A duration as people say it: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
