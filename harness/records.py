"""What a run's metrics.json says: what the run was, whether it is finished, and what it measured.

trainers/run/record.py writes it.
"""

import json
import os

from .errors import UserError

FILE = "metrics.json"
# Keys that settings leave out where a run is as all were before there were these keys, see trainers/run/experiment.py
AS_BEFORE = {"DATALOADER.TRAIN_X.DROP_LAST": True, "OPTIM.LR_STEP": "epoch", "OPTIM.MIN_LR": 0.0}


def read_record(folder) -> dict:
    """A run's metrics.json: what it was and, if its test split was tested, what came out.

    Raises FileNotFoundError if there is none, and ValueError, naming the file, if it is damaged or its accuracy is no
    percentage.
    """
    path = os.path.join(folder, FILE)
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
    """As `read_record`, but empty where there is none that can be read: that run is not finished."""
    try:
        return read_record(folder)
    except (FileNotFoundError, ValueError):
        return {}


def written_at(folder) -> int:
    """When a run's record was written, in nanoseconds. Raises FileNotFoundError if there is none."""
    return os.stat(os.path.join(folder, FILE)).st_mtime_ns


def has_result(record: dict) -> bool:
    """Whether a record holds a result, which is of the test split. Older versions name no split: it is the test's."""
    return "accuracy" in record and record.get("split", "test") == "test"


def is_trained(record: dict) -> bool:
    """Whether a record is of a finished training, tested or not (TEST.NO_TEST, TEST.SPLIT val)."""
    ended = has_result(record) or record.get("trained_epochs", 0) >= record.get("max_epoch", 1)
    return bool(record) and not record.get("model_dir") and ended


def is_imported(record: dict) -> bool:
    """Whether a record is of a model that public code trained, see tools/import_checkpoint.py."""
    return "imported" in record


def recorded_settings(record: dict) -> dict:
    """What makes a record's experiment: the config's keys, and what they stand for on the disk."""
    found = dict(record.get("settings", {}))
    if found:
        found["the test images"] = record.get("data", {}).get("test")
        found["the text projection of the backbone"] = record.get("backbone_fingerprint")
        if "backbone_weights" in record:  # earlier versions compared the projection alone
            found["the weights of the backbone"] = record["backbone_weights"]
        found["the code that trained it"] = record["imported"]["code"] if is_imported(record) else "this repository's"
    return found


def complete(settings: dict) -> dict:
    """Settings with the keys of `AS_BEFORE` that they leave out; none at all (not on record) stay none."""
    return {**AS_BEFORE, **settings} if settings else {}


def finished_already(folder, record: dict) -> str:
    """What to tell the user of a run that is not run again."""
    result = f"accuracy {record['accuracy']:.2f}%" if has_result(record) else "not tested on the test split"
    return f"finished already, {result}: {folder} (FORCE=1 starts over)"
