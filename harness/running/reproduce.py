"""reproduce.sh: a protocol of one method, one run after the other in front of the user, and its table.

What is finished is skipped, so it goes on with the same command where it was stopped; it stops at the first run that
fails. Several runs at once, several methods and SLURM are sweep.py's.
"""

import sys
from collections.abc import Sequence

from . import launch, script
from .grid import Task, behind_teacher, check, series_of
from .protocols import PROTOCOLS, REPRODUCE, Series, jobs_of, protocols_of


def run(series: Series, pairs: Sequence[str], environment: launch.Environment) -> int:
    """Do all tasks of a series; returns 0, or the exit code of the first that fails."""
    tasks = [each for job in jobs_of(series) for each in behind_teacher(Task(job, tuple(pairs)))]
    for number, (job, its_pairs, _) in enumerate(tasks, start=1):
        of = f"run {number} of {len(tasks)}"
        print(f"== {series.protocol}, {of}: {job.command}", flush=True)
        now = environment if job.method is series.method else script.of_teacher(environment)
        try:
            command = launch.command_of(launch.plan(job, its_pairs, now), now)
            code = script.call(command) if command else 0
        except launch.Refused as refused:
            if number == 1:  # what every run would be refused for, and nothing to go on from
                raise
            print(f"error: {refused}", file=sys.stderr)
            code = refused.code
        if code:
            print(f"stopped at {of} ({job.command}) with exit code {code}; the same command goes on from there",
                  file=sys.stderr)  # fmt: skip
            return code
    return 0


def reproduce(method, arguments: Sequence[str], environ: dict[str, str]) -> int:
    """scripts/<method>/reproduce.sh: a protocol, and its table. Raises Refused. Besides launch.py's environment:

    PROTOCOL base2new | joint | xd | dg | few_shot    (default: base2new, or the first that the method has)
    DATASETS the data sets, of xd and dg the targets  (default: the papers'; with SOURCE=shapes the bundled ones)
    SEEDS                                             (default: 1 2 3)
    SHOTS    of few_shot, several                     (default: 1 2 4 8 16)
    REPORT   no leaves the table out
    """
    name = method.script(REPRODUCE)
    _, pairs = script.split_arguments(name, "", arguments)
    launch.check_pairs(pairs, name)
    protocol = environ.get("PROTOCOL") or protocols_of(method)[0]
    if protocol not in PROTOCOLS:
        raise launch.Refused(2, f'PROTOCOL must be one of {", ".join(PROTOCOLS)}, not "{protocol}"')
    environment = launch.read_environment(environ)

    def numbers(name):
        return [launch.number(name, text) for text in environ.get(name, "").split()]

    datasets = environ.get("DATASETS", "").split()
    series = series_of(protocol, method, datasets, numbers("SEEDS"), numbers("SHOTS"), environ.get("SOURCE"))
    check(series)
    code = run(series, pairs, environment)
    if code or environ.get("REPORT") == "no":
        return code
    table = [sys.executable, f"{launch.ROOT}/tools/report.py", environment.output, "--protocol", protocol]
    return script.call(table)
