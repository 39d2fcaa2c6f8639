"""A run's folder from a public checkpoint: what train.py --eval-only, the scripts and the tools find in a trained one.

Its record (metrics.json) and its checkpoint say that it was imported, and from what file; there is no result in it.
"""

import os
from collections.abc import Collection
from typing import Any, NamedTuple

from yacs.config import CfgNode

from trainers.base import LEARNER  # first, as it imports clip without a warning
from trainers.errors import UserError
from trainers.files.known_content import sha256
from trainers.files.whole_files import write_whole
from trainers.prompting.prompt_text import n_tokens, words_of
from trainers.run import checkpoint, metrics_file
from trainers.run.experiment import fingerprint, flatten, settings_of
from trainers.run.record import git_commit, what_ran

from .convert import convert, node_of
from .layouts import LAYOUTS


class Imported(NamedTuple):
    folder: str
    n_tensors: int
    ignored: list[str]  # names of what has no place here
    changed: dict[str, Any]  # config keys that the file decided, where the config said otherwise
    new: bool  # False: the same file was imported there before


def import_run(cfg: CfgNode, path: str, given: Collection[str] = ()) -> Imported:
    """Make cfg.OUTPUT_DIR a run of the public checkpoint `path`, which was trained with `cfg`.

    Settings that follow from the tensors are put into `cfg`; for a key in `given`, which the user has set, they must
    agree. Writes nothing unless all fits. Raises UserError.
    """
    trainer, folder = cfg.TRAINER.NAME, cfg.OUTPUT_DIR
    if trainer not in LAYOUTS:
        raise UserError(
            f"Checkpoints of {trainer}'s public code cannot be imported: --trainer can be {', '.join(LAYOUTS)}."
        )
    layout = LAYOUTS[trainer]
    converted = convert(path, trainer, cfg.TRAINER.SEP.LAYERS if trainer == "SEP" else ())
    changed = _take_settings(cfg, _with_words(cfg, layout, converted.settings), given, path)
    if converted.epoch > cfg.OPTIM.MAX_EPOCH:
        raise UserError(
            f'Checkpoint "{path}" is of epoch {converted.epoch}, but the config trains for {cfg.OPTIM.MAX_EPOCH} '
            f"(OPTIM.MAX_EPOCH): give the config that it was trained with."
        )
    source = {"file": os.path.abspath(path), "sha256": sha256(path), "code": f"the public code of {trainer}"}
    settings = settings_of(cfg, [node_of(trainer)])
    imported = Imported(folder, len(converted.weights), converted.ignored, changed, new=True)
    target = checkpoint.path_of(os.path.join(folder, LEARNER), converted.epoch)
    if _is_there(folder, target, source["sha256"], settings):
        return imported._replace(new=False)
    state = {
        "state_dict": converted.weights,
        "epoch": converted.epoch,
        "settings": settings,
        "imported": source,
    }
    checkpoint.write(state, target)
    write_whole(os.path.join(folder, "config.yaml"), lambda f: f.write(cfg.dump().encode()))
    record = {
        **what_ran(cfg, split=None),
        "imported": source,
        "epoch": converted.epoch,
        "trained_epochs": converted.epoch,
        "max_epoch": cfg.OPTIM.MAX_EPOCH,
        "model_dir": "",
        "backbone": cfg.MODEL.BACKBONE.NAME,
        "git_commit": git_commit(),
        "fingerprint": fingerprint(settings),
        "settings": settings,
    }
    metrics_file.write_metrics(folder, record)
    return imported


def _with_words(cfg, layout, settings):
    """`settings`, and an empty CTX_INIT where the context cannot have started from its words."""
    words = cfg.TRAINER[node_of(cfg.TRAINER.NAME)].get("CTX_INIT", "")
    if not layout.words or not words:
        return settings
    n, (key, length) = n_tokens(words_of(words)), next(pair for pair in settings.items() if "N_CTX" in pair[0])
    if layout.words == "all" and n == length:
        return {name: value for name, value in settings.items() if name != key}  # the words count, not N_CTX
    if layout.words == "more" and n >= length:
        return settings
    return {**settings, f"TRAINER.{node_of(cfg.TRAINER.NAME)}.CTX_INIT": ""}


def _take_settings(cfg, settings, given, path):
    """Put what follows from the tensors into `cfg`; returns what was otherwise. Raises UserError if it was given so."""
    now = dict(flatten(cfg))
    changed = {key: value for key, value in settings.items() if now[key] != value}
    for key, value in changed.items():
        if key in given:
            raise UserError(
                f'{key} is {now[key]!r}, but checkpoint "{path}" was trained with {value!r}: leave the key out.'
            )
        *sections, leaf = key.split(".")
        node = cfg
        for section in sections:
            node = node[section]
        node[leaf] = value
    return changed


def _is_there(folder, target, digest, settings):
    """Whether the same import is in `folder`, whole. Raises UserError if anything else is."""
    try:
        os.listdir(folder)
        # an import that was interrupted early has left folders, and a part of a file
        files = [name for _, _, names in os.walk(folder) for name in names if not name.endswith(".tmp")]
    except FileNotFoundError:
        return False
    except OSError as error:
        raise UserError(f'"{folder}" cannot be looked into ({error.strerror}): use another --output-dir.') from error
    if not files:
        return False
    try:
        record = metrics_file.read_metrics(folder)
        if record["imported"]["sha256"] == digest and record["settings"] == settings:
            return True
    except FileNotFoundError:  # an import that was interrupted is done again
        if _is_of(target, digest):
            return False
    except (OSError, KeyError, TypeError, ValueError):
        pass
    raise UserError(f'"{folder}" holds something else already: use another --output-dir, or delete that folder.')


def _is_of(target, digest):
    try:
        return checkpoint.read(target)["imported"]["sha256"] == digest
    except (KeyError, UserError):
        return False
