"""Trained prompts go into a model, unless they are of other settings, another backbone or another shape."""

import os
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Tuple

from ..errors import MissingFile, UserError
from ..keys import CLASS_FILES, TRAINING_FILES
from ..prompting.model import PromptedCLIP
from . import checkpoint
from .experiment import checksum_key, complete, differences
from .metrics_file import read_metrics

LEARNER = "prompt_learner"  # name of the registered model, and of the folder of its checkpoints

# What a test may set otherwise than the training of its model: keys and whole sections. The backbone is compared by
# its weights, not by its name. All of INPUT is the model's: TRANSFORMS says both how training images are varied and
# whether test images are normalised. Files that training alone reads may be missing, and those about the classes may be
# others for another data set.
A_TEST_MAY_CHANGE = ("DATALOADER.TEST", "DATASET", "MODEL.BACKBONE.NAME", "SEED", "TEST")

# Names in the checkpoints of CoOp's forks that belong to the class names, not to the prompts
OF_THE_CLASSES = ("token_prefix", "token_suffix")


class Loaded(NamedTuple):
    """What a checkpoint says of the prompts in it."""

    epoch: int  # after how many epochs they were as they are
    trained_epochs: int  # how many their training has had, by the checkpoints beside it and its record
    settings: Optional[Dict[str, Any]]  # of their training; None: it does not say
    imported: Optional[Dict[str, str]]  # what public checkpoint they come from, if from one
    is_final: bool = True  # whether they are those that their training ends with, as far as it has come


class PromptLoader:
    """Loads prompts of trained runs into `model`, and refuses those that do not belong there.

    Args:
        settings: of the run that loads them, `experiment.settings_of`.
        backbone: {"name": MODEL.BACKBONE.NAME, "fingerprint", "weights"} of `model`, see `frozen_clip`.
    """

    def __init__(self, model: PromptedCLIP, settings: Dict[str, Any], backbone: Mapping[str, Any]):
        self.model, self.settings, self.backbone = model, settings, backbone
        self._noted = False

    def initialise(self, path: str) -> None:
        """Start a new training from the prompts in the checkpoint `path`. Raises UserError if they do not fit."""
        state = checkpoint.read(path, "name another one with MODEL.INIT_WEIGHTS")
        weights = {name: value for name, value in state["state_dict"].items() if name not in OF_THE_CLASSES}
        self._load_prompts({**state, "state_dict": weights}, path)
        print(f"Initial weights of {LEARNER}: {path} (epoch = {state['epoch']})")

    def load(self, directory: str, epoch: Optional[int] = None, best: bool = False) -> Optional[Loaded]:
        """Load prompts to test: of `epoch`, or else the best if there are, or else (unless `best`) the last.

        None of a method that learns none: there is nothing to load then.

        Raises MissingFile (it names the epochs that exist), also if the run's record says that those to test by default
        are lost, and UserError for a file that cannot be read, is damaged or not ours, and for prompts that were
        trained under other settings, on another backbone, of another shape or not finite.
        """
        if not any(True for _ in self.model.prompt_learner.parameters()):
            return None
        folder = os.path.join(directory, LEARNER)
        best_of_record, last = ended_with(directory)
        path = path_to_load(folder, epoch, best or best_of_record, last)
        state = checkpoint.read(path, "test another epoch with --load-epoch, or train again")
        self.refuse_another_backbone(state, path)
        remedy = "give the test the config file and the KEY VALUE pairs of the training"
        files = [checksum_key(key) for key in TRAINING_FILES]
        files += [key for key in map(checksum_key, CLASS_FILES) if self._may_be_of_others(key, state)]
        self.refuse_other_settings(state, path, (*A_TEST_MAY_CHANGE, *files), remedy)
        self._load_prompts(state, path)
        self.model.seen_classes = self._are_seen(state)
        if "training" in state and "classnames" in state:  # imported ones have prompts alone
            self.model.load_training_only(state["training"]["modules"], state["classnames"], path)
        print(f'Loading weights to {LEARNER} from "{path}" (epoch = {state["epoch"]})')
        trained_epochs = max([state["epoch"], last, *checkpoint.epochs_in(folder)])
        keeps_best = best_of_record or os.path.lexists(os.path.join(folder, checkpoint.BEST))
        is_final = epoch is None or (epoch == trained_epochs and not keeps_best)
        return Loaded(state["epoch"], trained_epochs, state.get("settings"), state.get("imported"), is_final)

    def _are_seen(self, state):
        """Whether the model's classes are the checkpoint's; what it does not say (an imported one) is not compared."""
        theirs, ours = state.get("settings", {}), self.settings
        keys = ("DATASET.NAME", "DATASET.SUBSAMPLE_CLASSES")
        same = all(theirs.get(key, ours.get(key)) == ours.get(key) for key in keys)
        return same and state.get("classnames", self.model.classnames) == self.model.classnames

    def _may_be_of_others(self, key, state):
        """Whether a file about classes need not be the training's: both name one, but for two data sets."""
        theirs, ours = state.get("settings", {}), self.settings
        same = theirs.get("DATASET.NAME") == ours.get("DATASET.NAME")
        return not same and bool(theirs.get(key)) == bool(ours.get(key))

    def _load_prompts(self, state, path):
        self.check_prompts(state, path)
        self.model.prompt_learner.load_state_dict(state["state_dict"])

    # ---- refusing ------------------------------------------------------------------------------------------

    def refuse_another_backbone(self, state: Mapping[str, Any], path: str) -> None:
        theirs = state.get("backbone", self.backbone)  # imported checkpoints do not say
        key = "weights" if {"weights"} <= theirs.keys() & self.backbone.keys() else "fingerprint"
        if key == "fingerprint" and not self._noted:
            self._noted = True
            print(f"Note: {path} is of an earlier version, of whose backbone the text projection alone is compared")
        if theirs[key] != self.backbone[key]:
            raise UserError(
                f'Checkpoint "{path}" was trained on backbone {theirs["name"]}, whose weights or activation are not '
                f"those of {self.backbone['name']}: pass the same MODEL.BACKBONE.NAME and ACTIVATION."
            )

    def refuse_other_settings(self, state: Mapping[str, Any], path: str, ignore: Iterable[str], remedy: str) -> None:
        """ignore: keys and whole sections that may differ."""
        theirs, ours = complete(state.get("settings", {})), complete(self.settings)
        differing = differences(theirs, ours, ignore)
        if differing:
            key = differing[0]
            raise UserError(
                f'Checkpoint "{path}" was trained with {key} {theirs[key]!r}, but this run has {ours[key]!r}: {remedy}.'
            )

    def check_prompts(self, state: Mapping[str, Any], path: str) -> None:
        """Raise UserError unless the prompts are for these classes, of the model's shape, and finite."""
        learner, weights = self.model.prompt_learner, state["state_dict"]
        # What it holds of each class, "" if it fits any
        classnames, class_specific = state.get("classnames"), getattr(learner, "class_specific", "")
        if class_specific and classnames is None:  # an imported one, of the classes that its settings say
            others = [key for key in A_TEST_MAY_CHANGE if key != "DATASET"]
            self.refuse_other_settings(state, path, others, "its contexts are those of the classes it was trained on")
        elif class_specific and classnames != self.model.classnames:
            raise UserError(
                f'Checkpoint "{path}" holds {class_specific} of the {len(classnames)} classes it was trained on, '
                f"which are not those of this run: test it on its own{getattr(learner, 'instead', '')}."
            )
        checkpoint.check_weights(learner.state_dict(), weights, path)
        checkpoint.check_finite(weights, path)


def ended_with(directory: str) -> Tuple[bool, int]:
    """(whether a finished training ended with its best model, its last epoch), as its record says; (False, 0) if not"""
    try:
        record = read_metrics(directory)
    except (OSError, ValueError):  # then it is not known what there was
        return False, 0
    if record.get("model_dir"):
        return False, 0
    keeps_best = record.get("settings", {}).get("TEST.FINAL_MODEL") == "best_val"
    return keeps_best and "accuracy" in record, record.get("trained_epochs", 0)


def path_to_load(folder: str, epoch: Optional[int], best: bool, last: int) -> str:
    """The checkpoint to test, as `PromptLoader.load`; last: what `ended_with` says. Raises MissingFile."""
    epochs, path = checkpoint.epochs_in(folder), os.path.join(folder, checkpoint.BEST)
    if epoch is None and os.path.lexists(path):
        return path
    if not epochs:
        raise MissingFile(f'No checkpoint below "{folder}": train first, or correct --model-dir.')
    if best and epoch is None:
        raise MissingFile(
            f'No best model "{path}", which TEST.FINAL_MODEL best_val asks for: test an epoch with --load-epoch '
            f"({_listed(epochs)}), or train again."
        )
    if epoch is None and last > epochs[-1]:
        raise MissingFile(
            f'The checkpoint of epoch {last}, with which its training ended, is not in "{folder}": test one with '
            f"--load-epoch ({_listed(epochs)}), or train again."
        )
    if epoch is not None and epoch not in epochs:
        raise MissingFile(f'No checkpoint of epoch {epoch} in "{folder}": --load-epoch can be {_listed(epochs)}.')
    return checkpoint.path_of(folder, epochs[-1] if epoch is None else epoch)


def _listed(epochs: List[int]) -> str:
    return ", ".join(map(str, epochs))
