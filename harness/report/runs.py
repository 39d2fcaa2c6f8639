"""All runs below a folder: what each is of, and what it measured."""

import os
import re
from typing import NamedTuple, Optional

from ..errors import UserError
from ..layout import PARTS, VARIANT, place_of
from ..records import FILE, has_result, is_imported, read_record, recorded_settings
from .logs import TESTED, TRAINED, value_in_logs

ANOTHER_SPLIT, ANOTHER_SAMPLE = "another split", "another sample"
_SOURCE = re.compile(r"(?:^|/)xd/train/([^/]+)/")  # in the model_dir of a test


class Run(NamedTuple):
    """One measured part of one training run.

    `protocol` and `part` are as in `PARTS`: base2new has base and new, xd a source and targets, few_shot all
    classes. `source` is the data set that a run of xd was trained on, "" if it was trained on none or left no
    result. `accuracy` is in percent, None if the run left no result. `root` is the output folder that the run
    lies in, relative to the folder searched, `cfg` the config file's stem; both are "" outside the layout. `folder` is
    the path of the run itself.
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
    images: str = ""  # what is not CoOp's of them, where the record says so: ANOTHER_SPLIT or ANOTHER_SAMPLE
    folder: str = ""

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
        if not placed and FILE not in files:
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
            earlier = runs[run.what].folder
            warnings.append(f"{path} is the same run as {earlier}, so neither counts; move one of them away")
            run = run._replace(accuracy=None)
        runs[run.what] = run._replace(folder=path)
    return list(runs.values()), warnings


def _read_placed(path, files, run):
    if FILE not in files:
        if run.protocol != "base2new":  # forks lay the others out in their own ways
            return run
        accuracy, _ = value_in_logs(path, "accuracy", TRAINED if run.part == "base" else TESTED)
        return run._replace(accuracy=accuracy)
    source = os.path.join(path, FILE)
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
    model = _model_of_source(record)
    if run.part == "target" and model:
        trained_on = _SOURCE.search(model)
        if not trained_on:
            raise UserError(
                f'{source} tested the model in "{model}", which is not below xd/train/<source>, so its '
                "source is not known; test a model that xd_train.sh trained"
            )
        run = run._replace(source=trained_on[1])
    return run._replace(accuracy=float(record["accuracy"]), **_facts(record))


def _model_of_source(record):
    """The folder of the run of the source: whose model was tested, or who taught the model; "" if there is none."""
    return record.get("model_dir") or record.get("teacher") or ""


def _facts(record):
    """What a record says of a Run beside its result."""
    numbers = {"seconds": "seconds", "peak_memory": "peak_memory_mb", "learnable_parameters": "learnable_parameters"}
    numbers = {field: record.get(key) for field, key in numbers.items()}
    return {
        **{field: value if type(value) in (int, float) else None for field, value in numbers.items()},
        "settings": recorded_settings(record),
        "device": str(record.get("device") or ""),
        "trained": not (record.get("model_dir") or is_imported(record)),
        "imported": is_imported(record),
        "images": _images(record),
    }


def _images(record):
    """datasets/published.py writes these; earlier records have neither."""
    if record.get("split_file") == "another":
        return ANOTHER_SPLIT
    return ANOTHER_SAMPLE if str(record.get("sample")).startswith("another,") else ""


def _read_unplaced(path):
    record = read_record(path)
    if not has_result(record) and "split" in record:
        return None
    try:
        classes, model_dir = record["subsample_classes"], _model_of_source(record)
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
        raise UserError(f"{path}/{FILE} has no key {error}; test that run again") from None
