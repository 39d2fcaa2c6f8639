"""What a run's metrics.json says: what the run was, whether it is finished, and what it measured.

trainers/run/record.py writes it.
"""

import hashlib
import json
import os
from typing import Optional

from .edited import NUMBER, SCALAR, read_json
from .errors import UserError

FILE = "metrics.json"
# What all runs did before a config had these keys; settings leave such a value out, see trainers/run/experiment.py
AS_BEFORE = {
    **dict.fromkeys(("DATASET.CLASS_NAMES", "DATASET.OWN", "DATASET.SPLIT_FILE"), ""),
    "DATALOADER.TRAIN_X.DROP_LAST": True,
    "OPTIM.LR_STEP": "epoch",
    "OPTIM.MIN_LR": 0.0,
}

_PERCENT = ("accuracy", "error_rate", "macro_f1", "perclass_accuracy")
_COUNTS = ("n", "n_cls", "epoch", "trained_epochs", "max_epoch")
SHAPE = {
    **dict.fromkeys(_PERCENT, NUMBER),
    **dict.fromkeys((*_COUNTS, "shots", "seed"), int),
    **dict.fromkeys(("trainer", "dataset", "subsample_classes", "model_dir", "teacher", "backbone"), str),
    **dict.fromkeys(
        ("split", "fingerprint", "device", "git_commit", "split_file", "sample", "test_pictures"), (str, type(None))
    ),
    **dict.fromkeys(("seconds", "test_seconds", "peak_memory_mb", "learnable_parameters"), NUMBER),
    **dict.fromkeys(("given", "data", "versions"), {str: SCALAR}),
    "final_model": bool,
    "classnames": [str],
    "backbone_fingerprint": SCALAR,
    "backbone_weights": str,
    "backbone_files": [[(str, int)]],
    "imported": {str: SCALAR},
    **dict.fromkeys(("joint", "calibration", "by_class"), {str: (*NUMBER, type(None))}),
    "reliability": [[(*NUMBER, type(None))]],
    "remedied": {str: {str: NUMBER}},
    "settings": {str: (*SCALAR, [(*SCALAR, [SCALAR])])},  # the values that a config may have
    "model": {"fingerprint": str, "epoch": int, "settings": {str: SCALAR}},
}
# Keys that stand in the settings, too
_TWICE = {
    "trainer": "TRAINER.NAME",
    "dataset": "DATASET.NAME",
    "subsample_classes": "DATASET.SUBSAMPLE_CLASSES",
    "shots": "DATASET.NUM_SHOTS",
    "seed": "SEED",
}


def read_record(folder) -> dict:
    """A run's metrics.json: what it was and, if its test split was tested, what came out.

    Raises FileNotFoundError if there is none, and ValueError, naming file and key, if it is damaged, of another shape
    than `SHAPE`, or contradicts itself.
    """
    path = os.path.join(folder, FILE)
    try:
        record = read_json(path, SHAPE)
        wrong = _contradiction(record)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path} cannot be read as a run's result ({reason}); test that run again") from None
    if wrong:
        raise UserError(f"{path} contradicts itself: {wrong}; test that run again")
    return record


def _contradiction(record) -> str:
    """What two things that a record says cannot both be so; "" if none. Earlier versions say less."""
    percent = {key: record[key] for key in _PERCENT if key in record}
    for key, value in percent.items():
        if not 0 <= value <= 100:
            return f"{key} is {value}, which is no percentage"
    for key in _COUNTS:
        if record.get(key, 0) < 0:
            return f"{key} is {record[key]}"
    if record.get("epoch", 0) > record.get("trained_epochs", record.get("epoch", 0)):
        return f"epoch is {record['epoch']}, but trained_epochs {record['trained_epochs']}"
    settings = record.get("settings", {})
    for key, name in _TWICE.items():
        if key in record and record[key] != settings.get(name, record[key]):
            return f"{key} is {record[key]!r}, but {name} {settings[name]!r} in its settings"
    if settings and record.get("fingerprint") and record["fingerprint"] != fingerprint(settings):
        return "its settings are not those of its fingerprint"
    if "classnames" in record and len(record["classnames"]) != record.get("n_cls", len(record["classnames"])):
        return f"n_cls is {record['n_cls']}, but there are {len(record['classnames'])} classnames"
    joint = record.get("joint", {}).get("accuracy", record.get("accuracy"))
    if joint != record.get("accuracy") and abs(joint - record["accuracy"]) > 1e-6:
        return f"accuracy is {record['accuracy']}, but {joint} in the joint test"
    return _wrong_numbers(percent, record.get("n")) if "accuracy" in record else ""


def _wrong_numbers(percent, n):
    """The evaluator (dassl/evaluation/evaluator.py) counts: of n images so many are right."""
    accuracy = percent["accuracy"]
    if abs(accuracy + percent.get("error_rate", 100 - accuracy) - 100) > 1e-6:
        return f"accuracy is {accuracy}, but error_rate {percent['error_rate']}"
    for key in ("macro_f1", "perclass_accuracy"):  # all or nothing right in one is so in the other
        other = percent.get(key, accuracy)
        for end in (0, 100):
            if (abs(accuracy - end) < 1e-9) != (abs(other - end) < 1e-9):
                return f"accuracy is {accuracy}, but {key} {other}"
    if n is not None:
        right = accuracy * n / 100
        if n < 1 or abs(right - round(right)) > 1e-6 * n:
            return f"accuracy is {accuracy}, which no number of {n} images gives"
    return ""


def fingerprint(settings: dict) -> str:
    """As trainers/run/experiment.py writes it."""
    canonical = json.dumps(settings, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def record_of(folder) -> dict:
    """As `read_record`, but empty where there is none that can be read: that run is not finished."""
    try:
        return read_record(folder)
    except (FileNotFoundError, ValueError):
        return {}


def written_at(folder) -> int:
    """When a run's record was written, in nanoseconds. Raises FileNotFoundError if there is none."""
    return os.stat(os.path.join(folder, FILE)).st_mtime_ns


# ---- what it is of -----------------------------------------------------------------------------------------------


def is_tested(record: dict) -> bool:
    """Whether a record is of a test on the test split. Older versions name no split: it is that."""
    return "accuracy" in record and record.get("split", "test") == "test"


def has_result(record: dict) -> bool:
    """Whether a record holds a result: of the test split, and of the model that its training ends with."""
    return is_tested(record) and not early_epoch(record)


def early_epoch(record: dict) -> str:
    """'1 of 50' if a record is of a model on the way (LOADEP, an unfinished training); '' of what a training ends with.

    Of trainings that end with their best model, records of before `final_model` are told apart by `final_epoch` alone.
    """
    epoch, planned = record.get("epoch"), record.get("max_epoch")
    if epoch is None or not planned or is_imported(record):
        return ""
    reached = record.get("trained_epochs", epoch) if keeps_best(record) else epoch
    is_final = record.get("final_model", True) and reached >= planned
    return "" if is_final else f"{epoch} of {planned}"


def keeps_best(record: dict) -> bool:
    """Whether a training ends with the best of its models, by the validation images, and not with the last."""
    return record.get("settings", {}).get("TEST.FINAL_MODEL") == "best_val"


def final_epoch(record: dict) -> Optional[int]:
    """The epoch of the model that a training ends with, from its record; None if that does not say."""
    if is_imported(record) or (keeps_best(record) and not has_result(record)):
        return None
    return record.get("epoch" if has_result(record) else "trained_epochs")


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
        if record.get("test_pictures"):  # earlier versions compared their names alone
            found["what is in the test images"] = record["test_pictures"]
        found["the text projection of the backbone"] = record.get("backbone_fingerprint")
        if "backbone_weights" in record:  # earlier versions compared the projection alone
            found["the weights of the backbone"] = record["backbone_weights"]
        found["the code that trained it"] = (
            record["imported"].get("code") if is_imported(record) else "this repository's"
        )
    return found


def complete(settings: dict) -> dict:
    """Settings with the keys of `AS_BEFORE` that they leave out; none at all (not on record) stay none."""
    return {**AS_BEFORE, **settings} if settings else {}


def backbone_has_changed(record: dict, name: str) -> bool:
    """Whether the files of a record's backbone are not as they were, or not those of the MODEL.BACKBONE.NAME `name`.

    What is in them may be the same. Earlier records do not say which they are.
    """
    files = record.get("backbone_files", [])
    for file in files:
        try:
            found = os.stat(file[0])
        except (IndexError, OSError, ValueError):
            return True
        if file[1:] != [found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]:
            return True
    return bool(files) and os.path.isfile(name) and files[0][0] != os.path.abspath(name)


def finished_already(folder, record: dict, root: str) -> str:
    """What to tell the user, who gave --root `root`, of a run that is not run again."""
    then = record.get("given", {}).get("root") or root
    early = early_epoch(record)
    result = f"accuracy {record['accuracy']:.2f}%" if is_tested(record) else "not tested on the test split"
    result += f" of epoch {early}" if is_tested(record) and early else ""
    result += f", of the data sets in {then}" if os.path.realpath(os.path.expanduser(root)) != then else ""
    return f"finished already, {result}: {folder} (FORCE=1 starts over)"
