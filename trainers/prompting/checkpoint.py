"""Checkpoints on disk: written whole or not at all, read without unpickling code, random state included.

Layout as Dassl's: `<run>/prompt_learner/model.pth.tar-<epoch>`, `model-best.pth.tar`, and `checkpoint` naming
the newest.
"""

import os
import random
import re
from typing import Iterable, Optional, Tuple

import numpy as np
import torch

BEST = "model-best.pth.tar"
_NAME = re.compile(r"model\.pth\.tar-(\d+)$")


def path_of(folder, epoch):
    return os.path.join(folder, f"model.pth.tar-{epoch}")


def epochs_in(folder):
    """Epochs (from 1) that `folder` has a checkpoint of, ascending."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return sorted(int(m.group(1)) for m in map(_NAME.match, names) if m)


def write(state, path):
    """torch.save to a temporary file, then rename; `checkpoint` beside it names the file."""
    folder, name = os.path.split(path)
    write_atomically(path, lambda f: torch.save(state, f))
    write_atomically(os.path.join(folder, "checkpoint"), lambda f: f.write(f"{name}\n".encode()))


def write_atomically(path, dump):
    """Call dump(binary file), on a temporary file that takes the place of `path` once it is whole on disk."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = f"{path}.tmp-{os.getpid()}"
    with open(temporary, "wb") as f:
        dump(f)
        f.flush()
        os.fsync(f.fileno())
    os.replace(temporary, path)


def read(path):
    """The saved dict, on the CPU. Raises ValueError if the file cannot be read."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a different type for each way of being broken
        raise ValueError(
            f'Checkpoint "{path}" cannot be read: it is cut short or not a checkpoint of this project; remove it.'
        ) from error


def prune(folder, keep):
    """Remove the checkpoints of all epochs but those in `keep`, and what interrupted writes have left."""
    for epoch in epochs_in(folder):
        if epoch not in keep:
            os.remove(path_of(folder, epoch))
    for name in os.listdir(folder):
        if ".tmp-" in name:
            os.remove(os.path.join(folder, name))


def load_weights(module, weights, path):
    """Strict load_state_dict. Raises ValueError naming the first difference in names or shapes."""
    own = module.state_dict()
    for name in sorted(own.keys() | weights.keys()):
        found = tuple(weights[name].shape) if name in weights else "nothing"
        wanted = tuple(own[name].shape) if name in own else "nothing"
        if found != wanted:
            raise ValueError(
                f'Checkpoint "{path}" does not fit this model: {name} is {found} there and {wanted} here; use the '
                f"backbone, method and config it was trained with."
            )
    module.load_state_dict(weights)


def first_not_finite(named: Iterable[Tuple[str, torch.Tensor]]) -> Optional[str]:
    """The name of the first of (name, tensor) pairs that holds an infinite number or NaN; None if all are finite."""
    return next((name for name, tensor in named if not torch.isfinite(tensor).all()), None)


def random_state():
    """State of every random generator that training draws from, as plain tensors and numbers."""
    name, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": [name, torch.from_numpy(keys.astype(np.int64)), *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state):
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if len(state["cuda"]) == torch.cuda.device_count() and state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
