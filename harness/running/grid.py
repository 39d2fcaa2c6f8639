"""A grid of tasks: a protocol of each method becomes tasks, each once and behind what it needs."""

import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Optional

from .. import catalogue
from . import launch
from .protocols import FEW_SHOT, SEEDS, SHOTS, Job, Series, jobs_of


class Task(NamedTuple):
    """A job with the KEY VALUE pairs that it is given; `teacher_pairs` are for the training that it learns from."""

    job: Job
    pairs: tuple
    teacher_pairs: tuple = ()

    def __str__(self):
        config = self.job.config() if self.job.teaches else ""  # not the one that its method has otherwise
        return self.job.command + "".join(f" ({text})" for text in (config, self.job.variant) if text)

    @property
    def needs(self) -> Optional["Task"]:
        """The training that it tests, or learns from."""
        if self.job.needs:
            return self._replace(job=self.job.needs)
        teacher = self.job.teacher(self.pairs)
        return teacher and Task(teacher, self.teacher_pairs)

    def folder(self, environment: launch.Environment) -> str:
        return self.job.place(self.job.config(self.pairs, environment.cfg), self.pairs).below(environment.output)

    def is_finished(self, environment: launch.Environment) -> bool:
        """Whether its script would skip it. Raises Refused for what no run can mend."""
        try:
            return launch.plan(self.job, self.pairs, environment).arguments is None
        except launch.Refused as error:
            if error.code == 2:
                raise
            return False  # a test whose model is not there yet, or what the run itself will report


def series_of(protocol, method, datasets=(), seeds=(), shots=(), source="") -> Series:
    """A Series with the papers' values for what is empty."""
    source = source or "imagenet"
    datasets = datasets or catalogue.targets(protocol, source)
    shots = shots or (FEW_SHOT if protocol == "few_shot" else (SHOTS,))
    return Series(protocol, method, datasets, seeds or SEEDS, shots, source)


def check(series: Series):
    """Raises Refused for a protocol that the method does not have, and for a data set that has no config."""
    launch.need_protocol(series.method, series.protocol)
    for name in (*series.datasets, series.source):
        launch.need_dataset(name)


def methods_of(names: Sequence[str], protocol: str) -> list[catalogue.Method]:
    """The methods of these names; of "all" those that have the protocol. Raises Refused for a name that is none."""
    if list(names) == ["all"]:
        return [method for method in catalogue.METHODS if method.has(protocol)]
    return [launch.method_of(name) for name in names]


def behind_teacher(task: Task) -> list[Task]:
    """A task, behind the training that it learns from, if there is one."""
    return [task.needs, task] if task.job.teacher(task.pairs) else [task]


def tasks_of(series: Iterable[Series], pairs_of=None, variant="") -> list[Task]:
    """The tasks of all series, each once and behind what it needs; `pairs_of` {method: its pairs}. Raises Refused."""
    tasks = {}
    for each in series:
        check(each)
        if len(each.shots) > 1 and each.protocol != "few_shot":
            raise launch.Refused(2, f"several shots ({', '.join(map(str, each.shots))}) are for few_shot alone")
        pairs = tuple((pairs_of or {}).get(each.method.folder, ()))
        teacher = each.method.teacher(pairs)
        its_pairs = tuple((pairs_of or {}).get(catalogue.method_of(teacher).folder, ())) if teacher else ()
        launch.check_pairs((*pairs, *its_pairs), "a sweep")
        for job in jobs_of(each):
            tasks.update(dict.fromkeys(behind_teacher(Task(job._replace(variant=variant), pairs, its_pairs))))
    return list(tasks)


def clear(tasks: Sequence[Task], environment: launch.Environment) -> launch.Environment:
    """FORCE=1: delete what there is of these tasks, once; returns the environment in which to go on. Raises Refused.

    Teachers stay, unless their method was asked for as well: then their own tests are among the tasks.
    """
    teachers = {task.needs for task in tasks if task.job.teacher(task.pairs)}
    teachers -= {task.needs for task in tasks if task.job.needs}
    for folder in (task.folder(environment) for task in tasks if task not in teachers):
        if os.path.isdir(folder):
            launch.clear(folder)
    return environment._replace(force=False)


def missing_data(tasks: Iterable[Task], environment: launch.Environment) -> dict[str, str]:
    """{data set: folder} of the data sets of these tasks whose folder is not there. A loader's file names it."""
    missing = {}
    looked_for = [task.job for task in tasks if "DATASET.ROOT" not in task.pairs]
    for name in sorted({name for job in looked_for for name in (job.dataset, job.source)}):
        try:
            with open(os.path.join(launch.ROOT, "datasets", f"{name}.py"), encoding="utf-8") as file:
                folder = next(line for line in file if line.strip().startswith('dataset_dir = "')).split('"')[1]
        except (OSError, StopIteration):  # drawn here, or the user's own: the run says what it lacks
            continue
        folder = os.path.join(environment.data, folder)
        if not os.path.isdir(folder):
            missing[name] = folder
    return missing
