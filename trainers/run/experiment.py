"""What makes two runs the same experiment: their settings, and the images that they are trained and tested on."""

import hashlib
import json
import os
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence

from ..errors import UserError
from ..keys import CLASS_FILES, RUN_FOLDERS, TRAINING_FILES, flatten
from .metrics_file import read_metrics

# What may change between two commands that continue one run: where and how it runs, not what it computes.
NOT_THE_EXPERIMENT = {
    "MODEL.INIT_WEIGHTS",  # a path; its checksum is in the settings
    "DATALOADER.NUM_WORKERS",
    "DATALOADER.TEST.BATCH_SIZE",
    "DATASET.ROOT",
    "OUTPUT_DIR",
    "RESUME",
    "STORE.DIR",  # where features are kept, not what they are
    "STORE.MAX_GB",
    "TEST.COMPUTE_CMAT",
    "TEST.NO_TEST",
    "TEST.PER_CLASS_RESULT",
    "TEST.REMEDIES",  # measured beside the result
    "TEST.SAVE_PREDICTIONS",
    "TEST.SPLIT",
    "TRAIN.CHECKPOINT_FREQ",
    "TRAIN.PRINT_FREQ",
    "MODEL.TEXT_CHUNK",  # bounds memory
    "MODEL.CUDA_GRAPHS",
    "USE_CUDA",
    "VERBOSE",
    "VERSION",
}

# Keys that are younger than runs on users' disks: an empty one is left out, so that their fingerprints still hold.
NOTHING_IF_EMPTY = {"MODEL.BACKBONE.ACTIVATION"}

# Others, and what every run did before them: settings leave them out where a run does so, too (harness/records.py)
AS_BEFORE = {
    **dict.fromkeys(("DATASET.CLASS_NAMES", "DATASET.OWN", "DATASET.SPLIT_FILE"), ""),
    "DATALOADER.TRAIN_X.DROP_LAST": True,
    "OPTIM.LR_STEP": "epoch",
    "OPTIM.MIN_LR": 0.0,
}


def checksum_key(key: str) -> str:
    """The key under which settings hold the checksum of the file that config key `key` names."""
    return f"{key}_CHECKSUM"


def run_key(key: str) -> str:
    """The key under which settings hold trainer and settings (but the seed) of the run that config key `key` names."""
    return f"{key}_RUN"


_DIGITS = 16  # hexadecimal digits of a checksum, 64 bits


def settings_of(cfg: Mapping[str, Any], nodes: Optional[Sequence[str]] = None) -> Dict[str, Any]:
    """The keys of a config that make the experiment: dotted key -> plain JSON value, sorted by key.

    Left out are those of `NOT_THE_EXPERIMENT`, those of other methods, empty ones of `NOTHING_IF_EMPTY` and those
    `AS_BEFORE`. In the place of a path (MODEL.INIT_WEIGHTS, `TRAINING_FILES`, `CLASS_FILES`, `RUN_FOLDERS`) stands what
    lies there: the checksum of a file (`checksum_key`), and of a run, if it is there, its trainer and settings
    (`run_key`).

    Args:
        nodes: the nodes below TRAINER that the run's trainer reads (`nodes_of`); None keeps all.

    Raises UserError if such a file cannot be read.
    """
    others = tuple(
        f"TRAINER.{name}."
        for name, node in cfg["TRAINER"].items()
        if isinstance(node, dict) and nodes is not None and name not in nodes
    )
    flat = {key: value for key, value in flatten(cfg) if not key.startswith(others)}
    files = TRAINING_FILES | CLASS_FILES
    for key in files | {"MODEL.INIT_WEIGHTS"}:
        if key in flat:
            flat[checksum_key(key)] = _file_checksum(key, flat[key])
    for key in RUN_FOLDERS:
        flat.update(_run_in(key, flat.get(key)))
    nothing = {key for key in NOTHING_IF_EMPTY if not flat.get(key)}
    nothing |= {key for key, value in AS_BEFORE.items() if flat.get(key) == value}
    left_out = NOT_THE_EXPERIMENT | files | RUN_FOLDERS | nothing
    return {key: flat[key] for key in sorted(flat) if key not in left_out}


def nodes_of(trainer: Any, cfg: Mapping[str, Any]) -> Optional[List[str]]:
    """The `nodes` of a trainer's class (or object) for `settings_of`; None if it does not say what it reads."""
    nodes = getattr(trainer, "config_nodes", None)
    return None if nodes is None else nodes(cfg)


def _file_checksum(key, path):
    if not path:
        return ""
    try:
        return sha256_of(path)[:_DIGITS]
    except OSError as error:
        what = "checkpoint" if key == "MODEL.INIT_WEIGHTS" else "file"
        raise UserError(f"The {what} {path} ({key}) cannot be read ({error.strerror}): correct the path.") from error


def sha256_of(path: str) -> str:
    """Of a file: 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(2**20), b""):
            digest.update(block)
    return digest.hexdigest()


def _run_in(key, folder):
    if not folder:
        return {}
    try:
        record = read_metrics(folder)
        settings = {key: value for key, value in record["settings"].items() if key != "SEED"}
        return {run_key(key): f"{record['trainer']} {fingerprint(settings)}"}
    except (OSError, AttributeError, KeyError, TypeError, ValueError):
        return {}


def fingerprint(settings: Mapping[str, Any]) -> str:
    """16 hexadecimal digits, those of SHA-256, that tell settings apart; the order of the keys does not matter."""
    canonical = json.dumps(settings, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:_DIGITS]


def complete(settings: Mapping[str, Any]) -> Dict[str, Any]:
    """Settings with the keys of `AS_BEFORE` that they leave out; none at all (not on record) stay none."""
    return {**(AS_BEFORE if settings else {}), **settings}


def differences(theirs: Mapping[str, Any], ours: Mapping[str, Any], ignore: Iterable[str] = ()) -> List[str]:
    """The keys whose values differ in `complete` settings, sorted; `ignore` names keys and whole sections ("DATASET").

    A key that only one side has is no difference: another version of the code has keys that this one lacks (a fork,
    whose other methods add theirs), and nothing says which value would have stood for it.
    """
    theirs, ours, ignore = complete(theirs), complete(ours), tuple(ignore)
    sections = tuple(f"{name}." for name in ignore)
    return [
        key
        for key in sorted(theirs.keys() & ours.keys())
        if theirs[key] != ours[key] and key not in ignore and not key.startswith(sections)
    ]


def data_checksums(dataset, train: Optional[Iterable[Any]] = None) -> Dict[str, str]:
    """Checksums of a data set's "train", "val" and "test" images, "" where it has none: 16 hexadecimal digits each.

    dataset: Dassl's `DatasetBase`; train: what a run trains on, if not its `train_x`. The checksum is of paths, labels
    and class names in their order, not of pixels.
    Paths count from `dataset_dir`, so that a data set may be moved; those that lie elsewhere count as they are.
    """
    folder = dataset_folder(dataset)
    parts = {"train": dataset.train_x if train is None else train, "val": dataset.val, "test": dataset.test}
    return {part: _checksum(items, folder) for part, items in parts.items()}


def dataset_folder(dataset) -> str:
    """`dataset_dir` with a separator at its end; "" where a loader names none."""
    return os.path.join(getattr(dataset, "dataset_dir", "") or "", "")


def path_in(folder: str, path: str) -> str:
    """`path` from `folder` on, which ends with a separator; one that lies elsewhere as it is."""
    # os.path.relpath would take ten times as long, and ImageNet has 1.28 M images
    return path[len(folder) :] if path.startswith(folder) else path


def _checksum(items: Optional[Iterable[Any]], folder: str) -> str:
    if items is None:
        return ""
    lines = []
    for item in items:
        lines.append(f"{path_in(folder, item.impath)}\0{item.label}\0{item.classname}\n")
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()[:_DIGITS]
