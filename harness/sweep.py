"""Many runs, one after the other: a protocol of one method, or a file of configs/sweeps/.

What is finished is skipped, so a sweep that was stopped goes on with the same command; it stops at the first run that
fails.
"""

import subprocess
import sys
from collections.abc import Sequence
from typing import NamedTuple

from . import catalogue, launch
from .protocols import FEW_SHOT, PROTOCOLS, REPRODUCE, SEEDS, SHOTS, jobs_of


class Protocol(NamedTuple):
    """A protocol of one method: the runs that `jobs_of` makes of it."""

    protocol: str
    method: catalogue.Method
    datasets: Sequence[str]
    seeds: Sequence[int] = SEEDS
    shots: Sequence[int] = (SHOTS,)
    source: str = "imagenet"


def check(part: Protocol):
    """Raises Refused for a data set that has no config, before the first run."""
    for name in (*part.datasets, part.source):
        launch.need_dataset(name)


def run(part: Protocol, pairs: Sequence[str], settings: launch.Settings) -> int:
    """All runs of a part; returns 0, or the exit code of the first that fails."""
    jobs = jobs_of(*part)
    for number, job in enumerate(jobs, start=1):
        of = f"run {number} of {len(jobs)}"
        print(f"== {part.protocol}, {of}: {job.command}", flush=True)
        try:
            command = launch.command_of(launch.plan(job, pairs, settings), settings)
            code = call(command) if command else 0
        except launch.Refused as refused:
            print(f"error: {refused}", file=sys.stderr)
            code = refused.code
        if code:
            print(f"stopped at {of} ({job.command}) with exit code {code}; the same command goes on from there",
                  file=sys.stderr)  # fmt: skip
            return code
    return 0


def call(command: list[str]) -> int:
    """Run a command; returns its exit code, 128 + n if signal n ended it. Ctrl-C is the command's to answer."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    while True:
        try:
            code = process.wait()
            return code if code >= 0 else 128 - code
        except KeyboardInterrupt:
            continue


def report(settings: launch.Settings, protocol: str) -> int:
    return call([settings.python, f"{launch.ROOT}/tools/report.py", settings.output, "--protocol", protocol])


# ---- reproduce.sh --------------------------------------------------------------------------------------------------


def reproduce(method, arguments: Sequence[str], environ: dict[str, str]) -> int:
    """scripts/<method>/reproduce.sh: a protocol, and its table. Raises Refused. Besides launch.py's environment:

    PROTOCOL base2new | xd | dg | few_shot            (default: base2new)
    DATASETS the data sets, of xd and dg the targets  (default: the papers'; with SOURCE=shapes its own targets)
    SEEDS                                             (default: 1 2 3)
    SHOTS    of few_shot, several                     (default: 1 2 4 8 16)
    REPORT   no leaves the table out
    """
    script = f"scripts/{method.folder}/{REPRODUCE}.sh"
    _, pairs = launch.split_arguments(script, "", arguments)
    launch.check_pairs(pairs, script)
    protocol = environ.get("PROTOCOL") or "base2new"
    if protocol not in PROTOCOLS:
        raise launch.Refused(2, f'PROTOCOL must be base2new, xd, dg or few_shot, not "{protocol}"')
    settings = launch.settings_of(environ)
    source = environ.get("SOURCE") or "imagenet"

    def numbers(name, default):
        return [launch.number(name, text) for text in environ.get(name, "").split()] or default

    part = Protocol(
        protocol,
        method,
        environ.get("DATASETS", "").split() or catalogue.targets(protocol, source),
        numbers("SEEDS", SEEDS),
        numbers("SHOTS", FEW_SHOT if protocol == "few_shot" else (SHOTS,)),
        source,
    )
    check(part)
    code = run(part, pairs, settings)
    if code or environ.get("REPORT") == "no":
        return code
    return report(settings, protocol)


# ---- a sweep file --------------------------------------------------------------------------------------------------


def read(path: str) -> list[Protocol]:
    """The parts of a sweep file: for every entry of `parts` one of each of its methods ("all": every one).

    An entry has `protocol`, `methods`, `datasets` and, for few_shot, `shots`; the file has `seeds` and `source`.
    Raises Refused, naming the file, for what it cannot be.
    """
    from .config import read_config  # scripts start without YAML

    tree = read_config(path)
    known = {method.folder: method for method in catalogue.METHODS}
    parts = []
    try:
        for entry in tree["parts"]:
            names = list(known) if entry["methods"] == "all" else entry["methods"]
            shots = entry.get("shots", [SHOTS])
            for name in names:
                parts.append(
                    Protocol(entry["protocol"], known[name], entry["datasets"], tree["seeds"], shots, tree["source"])
                )
    except (KeyError, TypeError) as error:
        raise launch.Refused(2, f"{path} is no sweep: {error} is missing or unknown") from None
    return parts


def run_file(path: str, environ: dict[str, str]) -> int:
    """All parts of a sweep file; SEEDS in the environment takes the place of its seeds. Raises Refused."""
    settings, parts = launch.settings_of(environ), read(path)
    seeds = [launch.number("SEEDS", text) for text in environ.get("SEEDS", "").split()]
    for number, part in enumerate(parts, start=1):
        if seeds:
            part = part._replace(seeds=seeds)
        check(part)
        print(f"==== part {number} of {len(parts)}: {part.protocol}/{part.method.folder}", flush=True)
        code = run(part, (), settings)
        if code:
            return code
    return 0
