"""All runs below a folder: what each is of, and what it measured."""

import os
import re
from typing import NamedTuple, Optional

from .. import rows
from ..errors import UserError
from ..layout import PARTS, place_of
from ..records import (
    FILE,
    early_epoch,
    is_imported,
    is_tested,
    keeps_best,
    read_record,
    record_of,
    recorded_settings,
)
from .logs import TESTED, TRAINED, model_in_log, value_in_logs

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
    epoch: Optional[int] = None  # that its model is of
    keeps_best: bool = False  # whether its training ends with the best model, and so at an epoch of its own
    images: str = ""  # what is not CoOp's of them, where the record says so: ANOTHER_SPLIT or ANOTHER_SAMPLE
    joint: dict = {}  # the numbers of its test that functions of this name in metrics.py give; never changed
    calibration: dict = {}
    by_class: dict = {}
    reliability: list = []  # of [mean confidence, accuracy, count] of each bin
    remedied: dict = {}  # remedy -> its calibration with that
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
        files += [FILE] if FILE in folders else []  # which is none, and is said to be none
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
            run = _read_placed(path, files, run, place) if run else _read_unplaced(path)
        except ValueError as error:
            warnings.append(str(error))
        except FileNotFoundError:
            warnings.append(f"{path}/{FILE} leads to no file; test that run again")
        if run is None:
            continue
        if run.what in runs:
            earlier = runs[run.what].folder
            warnings.append(f"{path} is the same run as {earlier}, so neither counts; move one of them away")
            run = run._replace(accuracy=None)
        runs[run.what] = run._replace(folder=path)
    return list(runs.values()), warnings


def _read_placed(path, files, run, place):
    if FILE not in files:
        if run.protocol != "base2new":  # forks lay the others out in their own ways
            return run
        accuracy, log = value_in_logs(path, "accuracy", TRAINED if run.part == "base" else TESTED)
        if accuracy is not None and not 0 <= accuracy <= 100:
            raise UserError(f"{log} has an accuracy of {accuracy}%, which is no percentage; test that run again")
        if log and run.part == "new":
            _refuse_model(log, model_in_log(log), rows.of_place(place), run.part)
        return run._replace(accuracy=accuracy)
    source = os.path.join(path, FILE)
    record = read_record(path)
    if not is_tested(record) and "split" in record:  # trained, but not tested on the test split
        return run
    if "accuracy" not in record:
        raise UserError(f"{source} has no key 'accuracy'; test that run again")
    row = rows.of_place(place)
    wrong = rows.difference(row, rows.of_record(record))
    if wrong:
        name, wanted, said = wrong
        raise UserError(f'{source} is of the {name} "{said}", not "{wanted}" as its folder says')
    model = _model_of_source(record)
    if run.part == "target" and model:
        trained_on = _SOURCE.search(model)
        if not trained_on:
            raise UserError(
                f'{source} tested the model in "{model}", which is not below xd/train/<source>, so its '
                "source is not known; test a model that xd_train.sh trained"
            )
        run = run._replace(source=trained_on[1])
    if rows.tests_a_model(place) and record.get("max_epoch") and not record.get("model_dir", "?"):
        raise UserError(f"{source} is of a model that was trained there, not of the one that its row is to test")
    _refuse_model(source, record, row, run.part)
    _refuse_predictions(path, record)
    return run._replace(accuracy=float(record["accuracy"]), **_facts(record))


def _refuse_predictions(folder, record):
    """Raise UserError for a result that the predictions beside it contradict. The page names those that are damaged."""
    path = os.path.join(folder, "predictions.npz")
    if os.path.isfile(path):
        from .predictions import OfAnotherTest, read_predictions  # here, as few reports need NumPy

        try:
            read_predictions(path, record["accuracy"])
        except OfAnotherTest:
            raise
        except UserError:
            pass


def _model_of_source(record):
    """The folder of the run of the source: whose model was tested, or who taught the model; "" if there is none."""
    return record.get("model_dir") or record.get("teacher") or ""


def _refuse_model(source, record, row, part):
    """Raise UserError for a result of another row's model, or of one that its training does not end with."""
    folder = record.get("model_dir")
    if folder:
        # As text: what a relative path was relative to is not known
        _, place = place_of(os.path.join("/", folder)) or (None, None)
        said = [rows.of_place(place)] if place else [rows.of_record(record_of(folder))]
        said.append(rows.of_settings(record.get("model", {}).get("settings", {})))
        model = rows.of_model(row, part)
        for name, wanted, other in filter(None, (rows.difference(model, one) for one in said)):
            raise UserError(f'{source} tested a model of the {name} "{other}", not "{wanted}": {folder}')
    early = early_epoch(record)
    if early:
        raise UserError(f"{source} is of a model of epoch {early}, with which its training does not end")


def _facts(record):
    """What a record says of a Run beside its result."""
    numbers = {"seconds": "seconds", "peak_memory": "peak_memory_mb", "learnable_parameters": "learnable_parameters"}
    return {
        **{field: record.get(key) for field, key in numbers.items()},
        "settings": recorded_settings(record),
        "device": record.get("device") or "",
        "trained": not (record.get("model_dir") or is_imported(record)),
        "imported": is_imported(record),
        "epoch": record.get("epoch"),
        "keeps_best": keeps_best(record),
        "images": _images(record),
        **{key: record.get(key, {}) for key in ("joint", "calibration", "by_class", "remedied")},
        "reliability": record.get("reliability", []),
    }


def _images(record):
    """datasets/published.py writes these; earlier records have neither."""
    if record.get("split_file") == "another":
        return ANOTHER_SPLIT
    return ANOTHER_SAMPLE if (record.get("sample") or "").startswith("another,") else ""


def _read_unplaced(path):
    record = read_record(path)
    if not is_tested(record) and "split" in record:
        return None
    try:
        classes, model_dir = record["subsample_classes"], _model_of_source(record)
        trained_on = _SOURCE.search(model_dir)
        if classes in ("base", "new"):
            protocol, part, trained_on = "base2new", classes, None
        elif trained_on:
            protocol, part = "xd", "target"
        elif record["shots"] > 0 and not model_dir:
            protocol, part = "few_shot", "all"
        else:
            return None  # of no protocol
        _refuse_model(f"{path}/{FILE}", record, rows.of_record(record), part)
        _refuse_predictions(path, record)
        return Run(
            root="",
            protocol=protocol,
            part=part,
            dataset=record["dataset"],
            shots=str(record["shots"]),
            trainer=record["trainer"],
            cfg="",
            seed=record["seed"],
            source=trained_on[1] if trained_on else "",
            accuracy=float(record["accuracy"]),
            **_facts(record),
        )
    except KeyError as error:
        raise UserError(f"{path}/{FILE} has no key {error}; test that run again") from None
