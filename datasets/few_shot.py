"""What every loader shares: the data root, CoOp's split files, few-shot samples and base/new halves.

The samples and the halves are those of CoOp's loaders on Dassl, so that "seed 1, 16 shots, base" names
the same images here as in the literature.
"""

import json
import math
import os
import random
from collections import Counter, defaultdict
from typing import NamedTuple

from dassl.data.classes import check_classes
from dassl.data.datasets import Datum
from dassl.utils import MissingFile, UserError, read_json, write_whole

from .files import keep

SUBSAMPLES = ("all", "base", "new")
RUN_RECORD = "few_shot.json"  # in the output folder of a run without a seed
MAX_VAL_SHOTS = 4  # validation images per class at most, whatever NUM_SHOTS is (CoOp's loaders)


def data_root(cfg):
    """The absolute folder that `DATASET.ROOT` (`--root`) names, `~` expanded.

    Raises ValueError if it is empty and FileNotFoundError if there is no such folder.
    """
    if not cfg.DATASET.ROOT:
        raise UserError("No data root is given: pass the folder that holds your data sets with --root.")
    root = os.path.abspath(os.path.expanduser(cfg.DATASET.ROOT))
    if not os.path.isdir(root):
        raise MissingFile(
            f"The data root {root} does not exist: pass the folder that holds your data sets with --root "
            "(or to a script with DATA=...)."
        )
    return root


class _Entry(NamedTuple):
    impath: str
    label: int
    classname: str


def read_split(filepath, path_prefix, item=None):
    """Read a split file in CoOp's format, `{"train": [[path, label, class name], ...], "val": ...}`.

    The paths in it are relative to `path_prefix`. Returns the train, val and test lists of Datum, or of `item`, a
    class like it. Raises FileNotFoundError if the file is missing and ValueError if it is not such a file, or has a
    label or class name that `check_classes` refuses.
    """
    item = item or Datum
    if not os.path.isfile(filepath):
        raise MissingFile(f"The split file {filepath} does not exist: DATASETS.md says where to get it.")
    print(f"Reading split from {filepath}")
    try:
        split = read_json(filepath)
        parts = {
            part: [_Entry(os.path.join(path_prefix, path), label, name) for path, label, name in split[part]]
            for part in ("train", "val", "test")
        }
    except (ValueError, TypeError, KeyError) as e:
        cause = e if isinstance(e, UserError) else f"{type(e).__name__}: {e}"
        raise UserError(
            f"The split file {filepath} is damaged or not in CoOp's format ({cause}): "
            "download it again (DATASETS.md says from where)."
        ) from None
    present = {part: entries for part, entries in parts.items() if entries}  # a test set has no other part
    if present:
        check_classes(present, f"The split file {filepath}")
    return tuple([item(e.impath, label=e.label, classname=e.classname) for e in part] for part in parts.values())


def draw_few_shot(dataset, train, val, cfg, dataset_dir, record_dir="split_fewshot"):
    """Draw `DATASET.NUM_SHOTS` training images per class, and at most 4 for validation, as CoOp's loaders do.

    That is: `random.seed(SEED)`, then Dassl's `generate_fewshot_dataset` on `train`, then on `val`, over all
    classes (halve them afterwards with `subsample_classes`). Python's global generator is left as it was.

    The sample is also kept as JSON in `dataset_dir/record_dir/shot_<NUM_SHOTS>-seed_<SEED>.json`, with paths
    relative to `dataset_dir`, below OUTPUT_DIR if the data set is read-only, once a training begins
    (`DatasetBase.keep_sample`). Drawing costs less than proving that a kept sample still belongs to the split, so it
    is always drawn, and a file that says otherwise is reported and replaced: it cannot make a run wrong. CoOp's
    pickles are never read.

    With SEED < 0 (no fixed seed) the draw comes from Python's global generator as it is, and cannot be drawn again. So
    it is kept in OUTPUT_DIR/few_shot.json and taken from there, or from RESUME, when the run goes on.

    Args: `dataset`, the DatasetBase object being built; `train`, `val`, lists of Datum (`val` may be None).
    Returns the drawn (train, val); both unchanged if NUM_SHOTS < 1. Raises ValueError if OUTPUT_DIR has a sample that
    `train` and `val` cannot have given, or cannot be written to.
    """
    shots, seed = cfg.DATASET.NUM_SHOTS, cfg.SEED
    if shots < 1:
        return train, val
    if seed < 0:
        return _draw_once(dataset, train, val, shots, dataset_dir, [cfg.OUTPUT_DIR, cfg.RESUME])

    state = random.getstate()
    random.seed(seed)
    train, val = _draw(dataset, train, val, shots)
    random.setstate(state)
    drawn = {"train": _as_entries(train, dataset_dir), "val": _as_entries(val or [], dataset_dir)}
    name = os.path.join(record_dir, f"shot_{shots}-seed_{seed}.json")
    dataset.keep_sample = lambda: keep(
        lambda path: _keep_at(path, drawn), name, dataset_dir, cfg.OUTPUT_DIR, "the few-shot sample"
    )
    return train, val


def subsample_classes(*datasets, subsample="all"):
    """Keep one half of the classes: the first ceil(n/2) labels are base, the rest new (CoCoOp, section 4.1).

    Args: lists of Datum (or None), labels as in the first; `subsample`, "all" | "base" | "new".
    Returns as many lists, their labels renumbered from 0 in the old order. Raises ValueError for any other
    `subsample`, and for labels that `check_classes` refuses, since renumbering would hide them.
    """
    if subsample not in SUBSAMPLES:
        raise UserError(f'DATASET.SUBSAMPLE_CLASSES is "{subsample}": choose one of {", ".join(SUBSAMPLES)}.')
    if subsample == "all":
        return list(datasets)

    check_classes(dict(zip(("train", "val", "test"), datasets)), "The data set", shared_names=True)
    labels = sorted({item.label for item in datasets[0]})
    half = math.ceil(len(labels) / 2)
    selected = labels[:half] if subsample == "base" else labels[half:]
    if not selected:
        raise UserError(
            f'DATASET.SUBSAMPLE_CLASSES is {subsample}, but there are only {len(labels)} classes: use "all".'
        )
    relabelled = {label: i for i, label in enumerate(selected)}
    return [
        items
        and [
            type(item)(item.impath, label=relabelled[item.label], domain=item.domain, classname=item.classname)
            for item in items
            if item.label in relabelled
        ]
        for items in datasets
    ]


def _draw(dataset, train, val, shots):
    train = dataset.generate_fewshot_dataset(train, num_shots=shots)
    if val:
        val = dataset.generate_fewshot_dataset(val, num_shots=min(shots, MAX_VAL_SHOTS))
    return train, val


def _draw_once(dataset, train, val, shots, dataset_dir, folders):
    """The sample that is kept in one of the run's folders, or a new one; it is kept in the first of them."""
    paths = [os.path.join(folder, RUN_RECORD) for folder in folders if folder]
    taken = (_taken(path, train, val, shots, dataset_dir) for path in paths if os.path.isfile(path))
    train, val = next(filter(None, taken), None) or _draw(dataset, train, val, shots)
    drawn = {"shots": shots, "train": _as_entries(train, dataset_dir), "val": _as_entries(val or [], dataset_dir)}
    write_whole(paths[0], lambda file: json.dump(drawn, file, indent=0, default=int))
    return train, val


def _taken(path, train, val, shots, dataset_dir):
    """The sample in a run's file; None if it is of another number of shots."""
    try:
        kept = read_json(path)
        if kept["shots"] != shots:
            return None
        sample = (
            _named(kept["train"], train, shots, dataset_dir),
            val and _named(kept["val"], val, min(shots, MAX_VAL_SHOTS), dataset_dir),
        )
    except (ValueError, TypeError, KeyError):
        raise UserError(
            f"The few-shot sample in {path} is damaged, or not one of {dataset_dir}: pass another --output-dir, or "
            "delete that folder to start over."
        ) from None
    print(f"Taking the few-shot sample of this run from {path}")
    return sample


def _named(entries, items, shots, dataset_dir):
    """The items that `entries` name, in their order. Raises KeyError or ValueError if they are no sample of `items`."""
    by_entry = defaultdict(list)
    for entry, item in zip(_as_entries(items, dataset_dir), items):
        by_entry[tuple(entry)].append(item)
    named = [by_entry[tuple(entry)].pop() for entry in entries if by_entry[tuple(entry)]]
    drawn, there = Counter(item.label for item in named), Counter(item.label for item in items)
    if len(named) < len(entries) or drawn != {label: min(shots, n) for label, n in there.items()}:
        raise UserError("another number of images per class")
    return named


def _as_entries(items, dataset_dir):
    return [[os.path.relpath(i.impath, dataset_dir).replace(os.sep, "/"), i.label, i.classname] for i in items]


def _keep_at(path, drawn):
    try:
        if read_json(path) == drawn:
            return
        print(f"The few-shot sample in {path} is not what this split gives; it is drawn again and replaced")
    except FileNotFoundError:
        pass
    except ValueError:  # not JSON, or not text
        print(f"The few-shot sample in {path} is damaged; it is drawn again and replaced")
    write_whole(path, lambda file: json.dump(drawn, file, indent=0, default=int))
