"""metrics.json, in which a run says what it is and what came out."""

import json
import os
from typing import Any, Dict, Mapping

from ..files.edited_files import read_json
from ..files.whole_files import write_whole

NAME = "metrics.json"


# Types of what is read here. The record as a whole is checked by harness/records.py
_TYPES = {
    **dict.fromkeys(("trainer", "model_dir", "split", "backbone_weights"), str),
    **dict.fromkeys(("epoch", "trained_epochs", "max_epoch"), int),
    **dict.fromkeys(("settings", "imported"), dict),
    "classnames": list,
    "accuracy": float,
}


def read_metrics(folder: str) -> Dict[str, Any]:
    """What the run in `folder` says.

    Raises FileNotFoundError if it says nothing, another OSError if that cannot be read, ValueError if it is damaged.
    """
    said = read_json(os.path.join(folder, NAME))
    if not isinstance(said, dict):
        raise ValueError(f"it holds a {type(said).__name__}")
    for key, kind in _TYPES.items():
        value = said.get(key)
        is_none = value is None and (key not in said or key == "split")
        if not (is_none or type(value) is kind or (kind is float and type(value) is int)):
            raise ValueError(f"{key} is a {type(value).__name__}, but must be a {kind.__name__}")
    if not all(isinstance(name, str) for name in said.get("classnames", [])):
        raise ValueError("classnames holds something else than text")
    return said


def write_metrics(folder: str, metrics: Mapping[str, Any]) -> None:
    """Whole or not at all. Raises UserError if it cannot be written."""
    text = json.dumps(metrics, indent=2) + "\n"
    write_whole(os.path.join(folder, NAME), lambda file: file.write(text.encode()))
