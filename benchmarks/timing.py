"""Time in turns within one run, memory in a fresh process: ratios hold on other machines, milliseconds do not."""

import multiprocessing
import statistics
import time
from typing import NamedTuple

import torch

WARM_UP = 2  # rounds


class Seconds(NamedTuple):
    """Time on the wall's clock, and that of all threads of this process on its processors."""

    wall: float
    cpu: float


def interleaved(ways, rounds, device):
    """Median `Seconds` of each way, run in turns so that noise hits all alike.

    ways: name -> function, or a pair of functions: one that prepares each call and is not timed, and the timed one.
    """
    pairs = {name: way if isinstance(way, tuple) else (lambda: None, way) for name, way in ways.items()}
    taken = {name: [] for name in ways}
    for i in range(rounds + WARM_UP):
        for name, (prepare, way) in pairs.items():
            prepare()
            before = Seconds(time.perf_counter(), time.process_time())
            way()
            if device == "cuda":
                torch.cuda.synchronize()
            after = Seconds(time.perf_counter(), time.process_time())
            if i >= WARM_UP:
                taken[name].append((after.wall - before.wall, after.cpu - before.cpu))
    return {name: Seconds(*map(statistics.median, zip(*times))) for name, times in taken.items()}


def in_fresh_process(function, *args):
    """What `function` returns in a new process, which has done nothing else: a resident set only grows."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, args)
