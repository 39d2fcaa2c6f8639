"""What a training step does that a CUDA graph must not repeat (`run/cuda_graphs.py`)."""

import functools
from typing import Any, Callable, List, Sequence

import torch


class BetweenGraphs:
    """Decorates a function that decides by labels or by chance, or keeps something for later steps.

    A graph repeats what a GPU was told: each decision would be recorded anew, and the next step takes the memory of
    what a graph gave. So one ends in front of such a function and another begins behind it. Its results lie on the
    device of the step, since no graph is made of what holds a tensor of the host.
    """

    functions: List["BetweenGraphs"] = []

    def __init__(self, function: Callable[..., Any]):
        functools.update_wrapper(self, function)
        self.function = self.plain = function
        self.functions.append(self)

    def __call__(self, *args: Any) -> Any:
        return self.function(*args)


@BetweenGraphs
def uniform(shape: Sequence[int], device: torch.device) -> torch.Tensor:
    """Numbers in [0, 1) that the host draws: a run on any device has the same."""
    return torch.rand(tuple(shape)).to(device)
