"""Time in turns within one run, memory in a fresh process: ratios hold on other machines, milliseconds do not."""

import multiprocessing
import statistics
import time

import torch


def interleaved(ways, rounds, device):
    """Median seconds of each way (name -> function), run in turns so that noise hits all alike."""

    def timed(way):
        start = time.perf_counter()
        way()
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    seconds = {name: [] for name in ways}
    for i in range(rounds + 2):  # the first two rounds warm up
        for name, way in ways.items():
            taken = timed(way)
            if i >= 2:
                seconds[name].append(taken)
    return {name: statistics.median(values) for name, values in seconds.items()}


def in_fresh_process(function, *args):
    """What `function` returns in a new process, which has done nothing else: a resident set only grows."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, args)
