"""What code for older versions of PyTorch and NumPy, and for a GPU, finds here as it was: all bridges, in one place.

They are there for a trainer that was written for Dassl, in its process alone; docs/your_own_method.md lists them.
"""

import collections
import collections.abc
import functools
import inspect
from collections.abc import Iterator
from typing import Any, Callable

import numpy as np
import torch
from torch import nn
from torch.optim import lr_scheduler

_NUMPY = {
    **{name: kind for name, kind in (("int", int), ("float", float), ("object", object), ("str", str))},
    "bool": np.bool_,
    **{"float_": np.float64, "NaN": np.nan, "Inf": np.inf, "infty": np.inf},
}


def replacements() -> Iterator[tuple[Any, str, Any]]:
    """(what holds it, its name, what to put there) of everything that is not as it was."""
    yield torch, "load", _reads_whole_objects(torch.load)
    yield lr_scheduler.LRScheduler, "__init__", _without_verbose(lr_scheduler.LRScheduler.__init__)
    for kind in vars(lr_scheduler).values():
        if inspect.isclass(kind) and issubclass(kind, lr_scheduler.LRScheduler) and "optimizer" in _names(kind):
            if kind is not lr_scheduler.LRScheduler:
                yield kind, "__init__", _without_verbose(kind.__init__)
    for name, value in _NUMPY.items():
        if name not in vars(np):
            yield np, name, value
    for name in ("Callable", "Iterable", "Mapping", "MutableMapping", "Sequence"):
        if not hasattr(collections, name):
            yield collections, name, getattr(collections.abc, name)
    if not torch.cuda.is_available():
        yield from _without_a_gpu()


def _names(kind):
    return inspect.signature(kind.__init__).parameters


def _reads_whole_objects(load):
    """Before PyTorch 2.6 the default was to read any object."""

    @functools.wraps(load)
    def read(*args, **kwargs):
        return load(*args, **{"weights_only": False, **kwargs})

    return read


def _without_verbose(init: Callable) -> Callable:
    """PyTorch 2.7 took the argument `verbose`, the last one, away from all schedules."""
    most = len(inspect.signature(init).parameters)

    @functools.wraps(init)
    def begin(*args, verbose=False, **kwargs):
        init(*args[:most], **kwargs)

    return begin


def _without_a_gpu():
    """What is sent to a GPU stays where it is, and half precision, for which CPUs are not made, is float32."""

    def stay(self, *args, **kwargs):
        return self

    for kind in (torch.Tensor, nn.Module):
        yield kind, "cuda", stay
        yield kind, "half", kind.float
        yield kind, "to", _to_the_cpu(kind.to)


def _to_the_cpu(to):
    @functools.wraps(to)
    def move(self, *args, **kwargs):
        args = ["cpu" if _is_gpu(arg) else arg for arg in args]
        return to(self, *args, **{name: "cpu" if _is_gpu(arg) else arg for name, arg in kwargs.items()})

    return move


def _is_gpu(arg):
    return isinstance(arg, (str, torch.device)) and str(arg).startswith("cuda")
