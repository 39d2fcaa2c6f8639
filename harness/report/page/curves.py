"""Loss terms over steps, from the tensorboard files that runs leave."""

import logging
import os

from . import charts
from .names import by_kind, names_of, place_text

NOT_A_LOSS = ("lr", "acc")
MOST_POINTS = 120  # of a line: what a small chart can show
MOST_CHARTS = 24


def loss_charts(output, runs) -> tuple:
    """([Chart], sentences): one for each kind of training, with a line for each of its seeds."""
    found, left_out = [], 0
    names = names_of(runs)
    for kind in by_kind(run for run in runs if run.part in ("base", "source", "all")).values():
        folders = {run.seed: os.path.join(run.folder, "tensorboard") for run in kind}
        folders = {seed: folder for seed, folder in folders.items() if os.path.isdir(folder)}
        if len(found) == MOST_CHARTS:
            left_out += bool(folders)
            continue
        terms = _by_term({seed: read_losses(folder) for seed, folder in folders.items()})
        if terms:
            name = names[kind[0].trainer, kind[0].cfg]
            found.append(charts.losses(f"{name}, {place_text(kind[0])}", terms))
    if left_out:
        return found, [f"The first {MOST_CHARTS} kinds of runs; {left_out} more: tensorboard --logdir {output}"]
    return found, []


def read_losses(folder) -> dict:
    """{term: ([step], [value])} of a run's tensorboard folder, thinned; the sum only where there are several terms."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it would warn of each run that was cut off
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    found = {}
    for tag in events.Tags()["scalars"]:
        split, _, term = tag.partition("/")
        if split == "train" and term not in NOT_A_LOSS:
            found[term] = _thinned(events.Scalars(tag))
    if len(found) == 2:
        found.pop("loss", None)
    return found


def _thinned(events):
    """Steps and values, of a step that was run again after an interruption the later one."""
    by_step = {event.step: event.value for event in sorted(events, key=lambda event: event.wall_time)}
    points = sorted(by_step.items())
    every = -(-len(points) // MOST_POINTS)
    kept = points[:-1:every] + points[-1:]
    return [step for step, _ in kept], [value for _, value in kept]


def _by_term(by_seed):
    terms = {}
    for seed, found in by_seed.items():
        for term, line in found.items():
            terms.setdefault(term, {})[seed] = line
    return terms
