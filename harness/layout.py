"""Where a run lives, what of it is there, and what it measured: from its settings to a folder and back.

    <output>/<part>/<data set>/shots_<n>/<trainer>/<config>/seed<n>/

as in MaPLe, with the parts of PARTS. A run leaves a metrics.json there; of base-to-new runs that other forks of CoOp
made, the log.txt is read.
"""

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Optional

from .errors import UserError


class Part(NamedTuple):
    protocol: str  # base2new | xd | few_shot; domain generalization is xd with other targets
    name: str
    classes: str  # DATASET.SUBSAMPLE_CLASSES


PARTS = {  # folder -> what is in it
    "base2new/train_base": Part("base2new", "base", "base"),
    "base2new/test_new": Part("base2new", "new", "new"),
    "xd/train": Part("xd", "source", "all"),
    "xd/test": Part("xd", "target", "all"),
    "few_shot": Part("few_shot", "all", "all"),
}
VARIANT = "@"  # between a config's name and that of a sweep's variant of it
_FOLDERS = "|".join(folder.replace("base2new/", "(?:base2new/)?") for folder in PARTS)  # forks leave it out
_LAYOUT = re.compile(
    rf"^(?P<root>.*?)/(?P<folder>{_FOLDERS})/(?P<dataset>[^/]+)"
    r"/shots_(?P<shots>[^/]+)/(?P<trainer>[^/]+)/(?P<cfg>[^/]+)/seed(?P<seed>\d+)$"
)
_CHECKPOINT = re.compile(r"model\.pth\.tar-(\d+)$")


class Place(NamedTuple):
    """What a run's folder says about it."""

    folder: str  # a key of PARTS
    dataset: str
    shots: str
    trainer: str
    cfg: str
    seed: int

    def below(self, output: str) -> str:
        """Its path below an output folder."""
        rest = f"{self.dataset}/shots_{self.shots}/{self.trainer}/{self.cfg}/seed{self.seed}"
        return f"{output}/{self.folder}/{rest}"


def place_of(path) -> Optional[tuple]:
    """(output folder, Place) of a run's folder; None outside the layout."""
    match = _LAYOUT.match(Path(os.path.abspath(path)).as_posix())
    if match is None:
        return None
    found = match.groupdict()
    root, folder = found.pop("root"), found.pop("folder")
    if folder not in PARTS:
        folder = f"base2new/{folder}"
    return root or "/", Place(folder, **{**found, "seed": int(found["seed"])})


def same_run(one, other) -> bool:
    """Whether two folders are of one run: the same below their output folders, so that results may be moved."""
    places = [place_of(folder) for folder in (one, other)]
    if None in places:
        return os.path.realpath(one) == os.path.realpath(other)
    return places[0][1] == places[1][1]


# ---- what is there -------------------------------------------------------------------------------------------


def last_epoch(folder) -> int:
    """The newest checkpoint's epoch, 0 without any."""
    try:
        names = os.listdir(os.path.join(folder, "prompt_learner"))
    except OSError:
        return 0
    return max((int(match[1]) for match in map(_CHECKPOINT.match, names) if match), default=0)


def read_record(folder) -> dict:
    """A run's metrics.json: what it was and, if its test split was tested, what came out.

    Raises FileNotFoundError if there is none, and ValueError, naming the file, if it is damaged or its accuracy is no
    percentage.
    """
    path = os.path.join(folder, "metrics.json")
    try:
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
        accuracy = record.get("accuracy", 0)
        if isinstance(accuracy, bool) or not 0 <= accuracy <= 100:
            raise UserError(f"accuracy is {accuracy}")
    except FileNotFoundError:
        raise
    except (OSError, AttributeError, TypeError, ValueError) as error:
        raise UserError(f"{path} cannot be read as a run's result ({error}); test that run again") from None
    return record


def record_of(folder) -> dict:
    """`read_record`, or nothing where a run has left none that can be read: it is then not finished."""
    try:
        return read_record(folder)
    except (FileNotFoundError, ValueError):
        return {}


def has_result(record: dict) -> bool:
    """Whether a record is a result: of a test on the test split. What older versions wrote is of nothing else."""
    return "accuracy" in record and record.get("split", "test") == "test"


def is_trained(record: dict) -> bool:
    """Whether a record is of a finished training, tested or not (TEST.NO_TEST, TEST.SPLIT val)."""
    ended = has_result(record) or record.get("trained_epochs", 0) >= record.get("max_epoch", 1)
    return bool(record) and not record.get("model_dir") and ended


def is_imported(record: dict) -> bool:
    """Whether a record is of a model that public code trained, see tools/import_checkpoint.py."""
    return "imported" in record


def settings_of(record: dict) -> dict:
    """What makes a record's experiment: the config's keys, and what they stand for on the disk."""
    found = dict(record.get("settings", {}))
    if found:
        found["the test images"] = record.get("data", {}).get("test")
        found["the weights of the backbone"] = record.get("backbone_fingerprint")
        found["the code that trained it"] = record["imported"]["code"] if is_imported(record) else "this repository's"
    return found


def finished_already(folder, record: dict) -> str:
    """What to tell the user of a run that is not run again."""
    result = f"accuracy {record['accuracy']:.2f}%" if has_result(record) else "not tested on the test split"
    return f"finished already, {result}: {folder} (FORCE=1 starts over)"


# ---- the logs of runs ----------------------------------------------------------------------------------------

# A line after which a log's result blocks count. "Finished training" is what older Dassl versions print; a
# run that only evaluates says so among its arguments and never trains.
TRAINED = ("Finish training", "Finished training", "eval_only: True")
TESTED = ("=> result",)
_NEW_RUN = "** Arguments **"  # the first line that train.py writes, so what follows belongs to another run
_EVALUATED = re.compile(r"Evaluate on the \*(\w*)\* set")
_NUMBER = r"([-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)"


def value_in_log(lines: Iterable[str], keyword: str, signals: tuple) -> Optional[float]:
    """The last `* <keyword>: <number>%` of the test split after a line equal to one of `signals`; None without any."""
    pattern = re.compile(rf"\* {re.escape(keyword)}: {_NUMBER}%")
    counts, on_test, value = False, True, None
    for line in map(str.strip, lines):
        evaluated = _EVALUATED.match(line)
        if line == _NEW_RUN:
            counts = False
        elif evaluated:
            on_test = evaluated[1] == "test"
        elif line in signals:
            counts = True
        elif counts and on_test:
            match = pattern.match(line)
            if match:
                value = float(match[1])
    return value


def value_in_logs(folder, keyword: str, signals: tuple) -> tuple:
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


# ---- all runs below a folder -----------------------------------------------------------------------------------

_SOURCE = re.compile(r"(?:^|/)xd/train/([^/]+)/")  # in the model_dir of a test


class Run(NamedTuple):
    """One measured part of one training run.

    `protocol` and `part` are as in `PARTS`: base2new has base and new, xd a source and targets, few_shot all
    classes. `source` is the data set that a run of xd was trained on, "" if it was trained on none or left no
    result. `accuracy` is in percent, None if the run left no result. `root` is the output folder that the run
    lies in, relative to the folder searched, `cfg` the config file's stem; both are "" outside the layout.
    `settings` are those that make the experiment, by config key; empty where they are not on record. `seconds` are
    those of the process that left the result (training and test), `peak_memory` is in MiB; both are None if not on
    record, as is the number of `learnable_parameters`. `device` is the GPU's name or the CPU's architecture; `trained`
    says whether that process trained the model.
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
    settings: dict = {}  # never changed
    seconds: Optional[float] = None
    peak_memory: Optional[float] = None
    learnable_parameters: Optional[int] = None
    device: str = ""
    trained: bool = False
    imported: bool = False  # its model was trained by public code, see tools/import_checkpoint.py

    @property
    def what(self) -> tuple:
        """All that tells it from other runs."""
        return self[:9]


def find_runs(folder) -> tuple:
    """Every Run at or below `folder`, and a sentence for each one that could not be read.

    A folder in the layout is a run even without a result, which is then missing. Elsewhere a run is known by its
    metrics.json's keys.
    """
    runs, warnings = {}, []
    for path, folders, files in os.walk(folder):
        folders.sort()
        placed = place_of(path)
        if not placed and "metrics.json" not in files:
            continue
        folders.clear()  # nothing below a run is a run
        run = None
        if placed:
            root, place = placed
            part = PARTS[place.folder]
            source = place.dataset if part.name == "source" else ""
            run = Run(os.path.relpath(root, folder), part.protocol, part.name, *place[1:], source)
        try:
            run = _read_placed(path, files, run) if run else _read_unplaced(path)
        except ValueError as error:
            warnings.append(str(error))
        if run is None:
            continue
        if run.what in runs:
            earlier = runs[run.what][1]
            warnings.append(f"{path} is the same run as {earlier}, so neither counts; move one of them away")
            run = run._replace(accuracy=None)
        runs[run.what] = (run, path)
    return [run for run, _ in runs.values()], warnings


def _read_placed(path, files, run):
    if "metrics.json" not in files:
        if run.protocol != "base2new":  # forks lay the others out in their own ways
            return run
        accuracy, _ = value_in_logs(path, "accuracy", TRAINED if run.part == "base" else TESTED)
        return run._replace(accuracy=accuracy)
    source = os.path.join(path, "metrics.json")
    record = read_record(path)
    if not has_result(record) and "split" in record:  # trained, but not tested on the test split
        return run
    if "accuracy" not in record:
        raise UserError(f"{source} has no key 'accuracy'; test that run again")
    given = record.get("given", {})
    for what, measured, expected in (
        ("classes", record.get("subsample_classes"), run.part if run.protocol == "base2new" else "all"),
        ("seed", record.get("seed"), run.seed),
        ("shots", record.get("shots"), run.shots),
        ("trainer", record.get("trainer"), run.trainer),
        ("data set", given.get("dataset_config"), run.dataset),
        ("config", given.get("config"), run.cfg.partition(VARIANT)[0]),
    ):
        if measured is not None and str(measured) != str(expected):
            raise UserError(f'{source} is of the {what} "{measured}", not "{expected}" as its folder says')
    if run.part == "target" and record.get("model_dir"):
        trained_on = _SOURCE.search(record["model_dir"])
        if not trained_on:
            raise UserError(
                f'{source} tested the model in "{record["model_dir"]}", which is not below xd/train/<source>, so its '
                "source is not known; test a model that xd_train.sh trained"
            )
        run = run._replace(source=trained_on[1])
    return run._replace(accuracy=float(record["accuracy"]), **_facts(record))


def _facts(record):
    """What a record says of a Run beside its result."""
    numbers = {"seconds": "seconds", "peak_memory": "peak_memory_mb", "learnable_parameters": "learnable_parameters"}
    numbers = {field: record.get(key) for field, key in numbers.items()}
    return {
        **{field: value if type(value) in (int, float) else None for field, value in numbers.items()},
        "settings": settings_of(record),
        "device": str(record.get("device") or ""),
        "trained": not (record.get("model_dir") or is_imported(record)),
        "imported": is_imported(record),
    }


def _read_unplaced(path):
    record = read_record(path)
    if not has_result(record) and "split" in record:
        return None
    try:
        classes, model_dir = record["subsample_classes"], record.get("model_dir") or ""
        trained_on = _SOURCE.search(model_dir)
        if classes in ("base", "new"):
            protocol, part, trained_on = "base2new", classes, None
        elif trained_on:
            protocol, part = "xd", "target"
        elif int(record["shots"]) > 0 and not model_dir:
            protocol, part = "few_shot", "all"
        else:
            return None  # of no protocol
        return Run(
            root="",
            protocol=protocol,
            part=part,
            dataset=str(record["dataset"]),
            shots=str(record["shots"]),
            trainer=str(record["trainer"]),
            cfg="",
            seed=int(record["seed"]),
            source=trained_on[1] if trained_on else "",
            accuracy=float(record["accuracy"]),
            **_facts(record),
        )
    except KeyError as error:
        raise UserError(f"{path}/metrics.json has no key {error}; test that run again") from None
