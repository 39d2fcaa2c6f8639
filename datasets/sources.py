"""Where the public data sets' files come from (`sources.yaml`), and the errors that say so when one is missing."""

import functools
import os
from typing import NamedTuple, Optional

import yaml

from dassl.utils import MissingFile

SOURCES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sources.yaml")
GUIDE = os.path.join(os.path.dirname(os.path.dirname(SOURCES)), "DATASETS.md")


KEYS = ("file", "url", "md5", "blob")  # that not every step has


class Step(NamedTuple):
    """A numbered step of DATASETS.md; see `sources.yaml`."""

    number: int  # within the data set's section
    text: str  # Markdown
    gets: tuple[str, ...]  # files and folders in the data set's folder
    file: Optional[str] = None
    url: Optional[str] = None
    md5: Optional[str] = None
    blob: Optional[str] = None


@functools.cache
def _read(path):
    with open(path, encoding="utf-8") as file:
        return yaml.safe_load(file)


def mirror():
    """The repository on the Hugging Face hub that holds an archive of most data sets."""
    return _read(SOURCES)["mirror"]


def steps():
    """{registered name of a data set: its list of steps}."""
    return {
        dataset: [
            Step(number, entry["step"].format(**entry), tuple(entry["gets"]), *map(entry.get, KEYS))
            for number, entry in enumerate(entries, start=1)
        ]
        for dataset, entries in _read(SOURCES)["steps"].items()
    }


def step_for(dataset, name):
    """The step that gets the file or folder `name` of a data set; None if there is none."""
    return next((step for step in steps().get(dataset, ()) if name in step.gets), None)


def line_of(dataset, step):
    """The number of the line in DATASETS.md where a step begins; None without that page."""
    try:
        with open(GUIDE, encoding="utf-8") as file:
            lines = file.read().splitlines()
        heading = lines.index(f"## {dataset}")
        return next(i for i, line in enumerate(lines[heading:], heading + 1) if line.startswith(f"{step.number}. "))
    except (FileNotFoundError, ValueError, StopIteration):
        return None


def how_to_get(dataset, name):
    """A phrase that says how to get a file or folder of a data set: the step, and its line in DATASETS.md."""
    step = step_for(dataset, name)
    if step is None:
        return "DATASETS.md says how to get it"
    text, line = step.text.rstrip("."), line_of(dataset, step)
    return f"{text[0].lower()}{text[1:]}" + (f" (DATASETS.md, line {line})" if line else "")


def require(dataset, dataset_dir, *names):
    """Raise FileNotFoundError, with the step of DATASETS.md that gets it, for the first of `names` that is missing."""
    for name in names:
        path = os.path.join(dataset_dir, name)
        if not os.path.exists(path):
            raise MissingFile(
                f"{dataset} needs {path}, which does not exist: {how_to_get(dataset, name)}, "
                "let tools/prepare_data.py do it, or pass another data root with --root."
            )
