"""Whose folder is OUTPUT_DIR? One that holds checkpoints or a result is that of one experiment, and takes no other.

train.py asks this with the merged config; launch.py has answered before for runs that were given the same files.
"""

import os
from collections.abc import Callable
from typing import NamedTuple, Optional

from .. import layout, records, rows
from ..config import flatten, read_config
from ..dataset_folders import name_of
from ..errors import UserError


class Claim(NamedTuple):
    """What a run finds in its folder."""

    finished: dict  # the record of a finished training that it would repeat; empty if there is something to do
    is_free: bool  # nothing was trained there: config.yaml is to be this run's


def claim(args, cfg, settings: Callable[[], dict], weights: Callable[[], str]) -> Claim:
    """Take the folder OUTPUT_DIR for a run.

    Args:
        args: train.py's command line, `command_line.parse_args`.
        cfg: its merged config.
        settings: returns what makes the experiment, by config key; called only if there is something to compare.
        weights: returns the digest of the backbone's weights, likewise.

    Raises UserError, naming what differs, if the folder is that of another experiment.
    """
    folder = cfg.OUTPUT_DIR
    if not args.no_train:
        _refuse_other_row(args, cfg)
    trained_here = layout.has_checkpoints(folder)
    record = records.record_of(folder)
    if not (trained_here or record):
        return Claim({}, is_free=True)
    if args.no_train:
        return Claim({}, is_free=False)
    _refuse_other_model(args, folder, record, trained_here)
    _refuse_other_settings(folder, record, trained_here, settings())
    if not args.eval_only and "settings" in record and _is_complete(cfg, record):
        _refuse_other_weights(cfg, record, weights)
        return Claim(record, is_free=False)
    return Claim({}, is_free=not trained_here)


def _refuse_other_row(args, cfg):
    """What a folder of the layout says about its run, and about the model that is tested there, has to be so."""
    _, place = layout.place_of(cfg.OUTPUT_DIR) or (None, None)
    if place is None:
        return
    config = os.path.splitext(os.path.basename(args.config_file))[0]
    named = {"data set": name_of(args.dataset_config_file) or None, "config": config or None}
    wrong = rows.difference(rows.of_place(place), {**rows.of_settings(dict(flatten(cfg))), **named})
    if wrong:
        name, wanted, ours = wrong
        raise UserError(
            f'{cfg.OUTPUT_DIR} is the folder of a run with the {name} "{wanted}", but this one has "{ours}": give the '
            "same, or another --output-dir."
        )
    if rows.tests_a_model(place) and not args.eval_only:
        raise UserError(
            f"{cfg.OUTPUT_DIR} is for a test of a model that was trained elsewhere: add --eval-only and --model-dir, "
            "or give another --output-dir."
        )
    if args.eval_only and args.model_dir:
        _, model = layout.place_of(args.model_dir) or (None, None)
        for said in (rows.of_place(model) if model else {}, rows.of_record(records.record_of(args.model_dir))):
            _refuse_model(place, said, args.model_dir, cfg.OUTPUT_DIR)


def refuse_loaded(folder, model_dir, settings: Optional[dict]):
    """As `claim`, by the settings that the checkpoint of a model to test holds. Raises UserError."""
    _, place = layout.place_of(folder) or (None, None)
    if place is not None:
        _refuse_model(place, rows.of_settings(settings or {}), model_dir, folder)


def _refuse_model(place, said, model_dir, folder):
    wrong = rows.difference(rows.of_model(rows.of_place(place), layout.PARTS[place.folder].name), said)
    if wrong:
        name, wanted, theirs = wrong
        raise UserError(
            f'The model in {model_dir} has the {name} "{theirs}", but {folder} is for a test of one with "{wanted}": '
            "give another --model-dir, or another --output-dir."
        )


def _refuse_other_model(args, folder, record, trained_here):
    """A training must not meet a test's result, nor a test the training or the result of another model."""
    tested, other = record.get("model_dir"), ""
    if args.eval_only and trained_here and args.model_dir and not os.path.samefile(args.model_dir, folder):
        other = "a training of its own"
    elif tested and not (args.eval_only and args.model_dir and layout.same_run(tested, args.model_dir)):
        other = f"the result of a test of {tested}"
    if other:
        raise UserError(f"{folder} holds {other}: use another --output-dir, or delete that folder.")


def _refuse_other_settings(folder, record, trained_here, now):
    """A key that only one side has is no difference: it is of another version of the code."""
    file = os.path.join(folder, "config.yaml")
    earlier = record.get("settings") or (dict(flatten(read_config(file))) if os.path.lexists(file) else {})
    earlier, now = records.complete(earlier), records.complete(now)
    keys = [key for key in sorted(earlier.keys() & now.keys()) if earlier[key] != now[key]][:3]
    if keys:
        what = "checkpoints" if trained_here else "the result"
        theirs = " and ".join(f"{key} {earlier[key]!r}" for key in keys)
        ours = " and ".join(repr(now[key]) for key in keys)
        raise UserError(
            f"{folder} holds {what} of a run with {theirs}, but this one has {ours}: use another --output-dir, or "
            "delete that folder (scripts: FORCE=1) to start over."
        )


def _refuse_other_weights(cfg, record, weights):
    name = cfg.MODEL.BACKBONE.NAME
    if records.backbone_has_changed(record, name) and weights() != record.get("backbone_weights"):
        raise UserError(
            f"{cfg.OUTPUT_DIR} holds the result of a run on other weights than {name} has now: use another "
            "--output-dir, or delete that folder (scripts: FORCE=1) to start over."
        )


def _is_complete(cfg, record):
    """Whether a finished training has left all that this config asks of it."""
    if not records.is_trained(record):
        return False
    if not records.has_result(record):
        return cfg.TEST.NO_TEST or cfg.TEST.SPLIT != "test"
    asked = {"predictions.npz": cfg.TEST.SAVE_PREDICTIONS, "cmat.pt": cfg.TEST.COMPUTE_CMAT}
    left = all(os.path.exists(os.path.join(cfg.OUTPUT_DIR, name)) for name, wanted in asked.items() if wanted)
    left = left and set(cfg.TEST.REMEDIES) <= set(record.get("remedied", {}))
    return left and ("perclass_accuracy" in record or not cfg.TEST.PER_CLASS_RESULT)
