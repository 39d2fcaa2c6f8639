"""The state of every random generator that training draws from."""

import random
from typing import Any, Dict, Mapping

import numpy as np
import torch


def random_state() -> Dict[str, Any]:
    """State of every random generator that training draws from, as plain tensors and numbers."""
    name, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": [name, torch.from_numpy(keys.astype(np.int64)), *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state: Mapping[str, Any]) -> None:
    """Raises ValueError if it is not what `random_state` returns."""
    try:
        version, numbers, gauss = state["python"]
        if not (gauss is None or isinstance(gauss, float)):
            raise TypeError("gauss_next is a float or None")
        random.setstate((version, tuple(numbers), gauss))
        name, keys, position, *rest = state["numpy"]
        if keys.dtype != torch.int64 or not 0 <= position <= len(keys):  # numpy reads behind its end without a word
            raise ValueError("numpy's state has a position within its keys")
        np.random.set_state((name, keys.numpy().astype(np.uint32), position, *rest))
        torch.set_rng_state(state["torch"])
        if len(state["cuda"]) == torch.cuda.device_count() and state["cuda"]:
            torch.cuda.set_rng_state_all(state["cuda"])
    except (AttributeError, IndexError, KeyError, OverflowError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError("no state of the random generators") from error
