"""What there is of a run, and how long runs of its kind take: all from the runs' own folders."""

import statistics
from collections import defaultdict
from collections.abc import Iterable
from typing import Optional

from .. import records
from . import launch
from .grid import Run


def is_finished(run: Run, settings: launch.Settings) -> bool:
    """Whether the run's script would skip it. Raises Refused for what no run can mend."""
    try:
        return launch.plan(run.job, run.pairs, settings).arguments is None
    except launch.Refused as error:
        if error.code == 2:
            raise
        return False  # a test whose model is not there yet, or what the run itself will report


class Durations:
    """Seconds that runs took, by kind: what differs in the seed; if there is none, in the data set, too."""

    def __init__(self, settings: launch.Settings):
        self._settings = settings
        self._seconds = defaultdict(list)

    def add(self, run: Run):
        """Take in a finished run."""
        seconds = records.record_of(run.folder(self._settings)).get("seconds")
        if isinstance(seconds, (int, float)):
            for kind in self._kinds(run):
                self._seconds[kind].append(seconds)

    def of(self, run: Run) -> Optional[float]:
        known = (self._seconds[kind] for kind in self._kinds(run) if kind in self._seconds)
        return next((statistics.median(seconds) for seconds in known), None)

    def total(self, runs: Iterable[Run]) -> tuple[float, int]:
        """Seconds of all that are known, one after the other, and how many are not."""
        each = [self.of(run) for run in runs]
        return sum(seconds for seconds in each if seconds is not None), each.count(None)

    @staticmethod
    def _kinds(run):
        method, step, dataset = (run.job.method.folder, run.job.teaches), run.job.step.script, run.job.dataset
        return (method, step, dataset, run.job.source, run.job.shots), (method, step, run.job.shots)


def in_words(seconds: float) -> str:
    """A duration as people say it: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
