"""metrics.json, in which a run says what it is and what came out."""

import json
import os
from typing import Any, Dict, Mapping

from ..files.whole_files import write_whole

NAME = "metrics.json"


def read_metrics(folder: str) -> Dict[str, Any]:
    """What the run in `folder` says.

    Raises FileNotFoundError if it says nothing, another OSError if that cannot be read, ValueError if it is damaged.
    """
    with open(os.path.join(folder, NAME), encoding="utf-8") as file:
        said = json.load(file)
    if not isinstance(said, dict):
        raise ValueError(f"it holds a {type(said).__name__}")
    return said


def write_metrics(folder: str, metrics: Mapping[str, Any]) -> None:
    """Whole or not at all. Raises UserError if it cannot be written."""
    text = json.dumps(metrics, indent=2) + "\n"
    write_whole(os.path.join(folder, NAME), lambda file: file.write(text.encode()))
