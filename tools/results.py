"""Read what runs measured: `metrics.json`, or the `log.txt` of a run that has none.

Standard library only, so that the tools built on it start at once.
"""

import json
import os
import re
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

# A line after which a log's result blocks count. "Finished training" is what older Dassl versions print; a
# run that only evaluates says so among its arguments and never trains.
TRAINED = ("Finish training", "Finished training", "eval_only: True")
TESTED = ("=> result",)
_NEW_RUN = "** Arguments **"  # the first line that train.py writes, so what follows belongs to another run

# Folder in the scripts' layout -> protocol and part. Domain generalization is "xd" with other targets.
_PARTS = {
    "train_base": ("base2new", "base"),
    "test_new": ("base2new", "new"),
    "xd/train": ("xd", "source"),
    "xd/test": ("xd", "target"),
    "few_shot": ("few_shot", "all"),
}
_LAYOUT = re.compile(
    r"^(?P<root>.*?)/(?:base2new/(?=train_base|test_new))?(?P<folder>" + "|".join(_PARTS) + r")/(?P<dataset>[^/]+)"
    r"/shots_(?P<shots>[^/]+)/(?P<trainer>[^/]+)/(?P<cfg>[^/]+)/seed(?P<seed>\d+)$"
)
_SOURCE = re.compile(r"(?:^|/)xd/train/([^/]+)/")  # in the model_dir of a test
_NUMBER = r"([-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)"


@dataclass(frozen=True)
class Run:
    """One measured part of one training run.

    `protocol` and `part` are as in `_PARTS`: base2new has base and new, xd a source and targets, few_shot all
    classes. `source` is the data set that a run of xd was trained on, "" if it was trained on none or left no
    result. `accuracy` is in percent, None if the run left no result. `root` is the output folder that the run
    lies in, relative to the folder searched, `cfg` the config file's stem; both are "" outside the layout.
    """

    root: str
    protocol: str
    part: str
    dataset: str
    shots: str
    trainer: str
    cfg: str
    seed: int
    source: str = ""
    accuracy: Optional[float] = None


def value_in_log(lines: Iterable[str], keyword: str, signals: tuple) -> Optional[float]:
    """The last `* <keyword>: <number>%` after a line equal to one of `signals`; None if there is none."""
    pattern = re.compile(rf"\* {re.escape(keyword)}: {_NUMBER}%")
    counts, value = False, None
    for line in map(str.strip, lines):
        if line == _NEW_RUN:
            counts = False
        elif line in signals:
            counts = True
        elif counts:
            match = pattern.match(line)
            if match:
                value = float(match.group(1))
    return value


def value_in_logs(folder, keyword: str, signals: tuple) -> tuple[Optional[float], Optional[Path]]:
    """The newest value in a run's logs and the log it is from; (None, None) if there is none.

    Dassl starts `log.txt-<date and time>` when a run is resumed, so the names' order is the order in time.
    """
    value, source = None, None
    for path in sorted([*Path(folder).glob("log.txt"), *Path(folder).glob("log.txt-*")]):
        with open(path, encoding="utf-8", errors="replace") as file:
            found = value_in_log(file, keyword, signals)
        if found is not None:
            value, source = found, path
    return value, source


def read_metrics(path) -> dict:
    """A run's metrics.json. Raises ValueError, naming the file, if it holds no accuracy in percent."""
    try:
        metrics = json.loads(Path(path).read_text(encoding="utf-8"))
        accuracy = metrics["accuracy"]
        if isinstance(accuracy, bool) or not 0 <= accuracy <= 100:
            raise ValueError(f"accuracy is {accuracy}")
    except KeyError as error:
        raise ValueError(f"{path} has no key {error}; test that run again") from None
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as a run's result ({error}); test that run again") from None
    return metrics


def find_runs(folder) -> tuple[list[Run], list[str]]:
    """Every run at or below `folder`, and a sentence for each one that could not be read.

    A folder in the scripts' layout, `<part>/<dataset>/shots_<n>/<trainer>/<cfg>/seed<n>`, is a run even without
    a result, which is then missing. Elsewhere a run is known by its metrics.json's keys.
    """
    runs, warnings = {}, []
    for path, folders, files in os.walk(folder):
        folders.sort()
        layout = _LAYOUT.match(Path(os.path.abspath(path)).as_posix())
        if not layout and "metrics.json" not in files:
            continue
        folders.clear()  # nothing below a run is a run
        try:
            run = _read_placed(path, files, layout) if layout else _read_unplaced(path)
        except ValueError as error:
            warnings.append(str(error))
            run = _placed(layout) if layout else None
        if run is None:
            continue
        if layout:
            run = replace(run, root=os.path.relpath(run.root or "/", folder))
        key = replace(run, accuracy=None)
        if key in runs:
            warnings.append(f"{path} is the same run as {runs[key][1]}, so neither counts; move one of them away")
            run = key
        runs[key] = (run, path)
    return [run for run, _ in runs.values()], warnings


def _placed(layout):
    named = layout.groupdict()
    protocol, part = _PARTS[named.pop("folder")]
    source = named["dataset"] if part == "source" else ""
    return Run(**{**named, "seed": int(named["seed"])}, protocol=protocol, part=part, source=source)


def _read_placed(path, files, layout):
    run = _placed(layout)
    if "metrics.json" not in files:
        if run.protocol != "base2new":  # forks lay the others out in their own ways
            return run
        accuracy, _ = value_in_logs(path, "accuracy", TRAINED if run.part == "base" else TESTED)
        return replace(run, accuracy=accuracy)
    source = os.path.join(path, "metrics.json")
    metrics = read_metrics(source)
    expected = run.part if run.protocol == "base2new" else "all"
    measured = metrics.get("subsample_classes", expected)
    if measured != expected:
        raise ValueError(f'{source} is of the classes "{measured}", not "{expected}" as its folder says')
    if run.part == "target" and metrics.get("model_dir"):
        trained_on = _SOURCE.search(metrics["model_dir"])
        if not trained_on:
            raise ValueError(
                f'{source} tested the model in "{metrics["model_dir"]}", which is not below xd/train/<source>, so its '
                "source is not known; test a model that xd_train.sh trained"
            )
        run = replace(run, source=trained_on[1])
    return replace(run, accuracy=float(metrics["accuracy"]))


def _read_unplaced(path):
    source = os.path.join(path, "metrics.json")
    metrics = read_metrics(source)
    try:
        classes, model_dir = metrics["subsample_classes"], metrics.get("model_dir") or ""
        trained_on = _SOURCE.search(model_dir)
        if classes in ("base", "new"):
            protocol, part, trained_on = "base2new", classes, None
        elif trained_on:
            protocol, part = "xd", "target"
        elif int(metrics["shots"]) > 0 and not model_dir:
            protocol, part = "few_shot", "all"
        else:
            return None  # of no protocol
        return Run(
            root="",
            protocol=protocol,
            part=part,
            dataset=str(metrics["dataset"]),
            shots=str(metrics["shots"]),
            trainer=str(metrics["trainer"]),
            cfg="",
            seed=int(metrics["seed"]),
            source=trained_on[1] if trained_on else "",
            accuracy=float(metrics["accuracy"]),
        )
    except KeyError as error:
        raise ValueError(f"{source} has no key {error}; test that run again") from None


def mean_and_std(values) -> tuple[float, float]:
    """Mean and population standard deviation (divided by n, as CoOp's parse_test_res.py does)."""
    values = list(values)
    return statistics.fmean(values), statistics.pstdev(values)
