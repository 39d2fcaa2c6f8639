"""The checkpoints of a run: what is in them, which are kept, and which of another run are refused.

How a file is written and read is in prompting/checkpoint.py.
"""

import copy
import os
import time
import warnings
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import torch

from ..errors import MissingFile, UserError
from ..files.torch_file import DamagedFile
from ..keys import TRAINING_FILES
from ..precision import Precision, first_not_finite
from ..prompting.model import PromptedCLIP
from ..random_state import random_state, set_random_state
from . import checkpoint
from .experiment import checksum_key, complete, differences, fingerprint

LEARNER = "prompt_learner"  # name of the registered model, and of the folder of its checkpoints

# What a test may set otherwise than the training of its model: keys and whole sections. The backbone is compared by
# its weights, not by its name. All of INPUT is the model's: TRANSFORMS says both how training images are varied and
# whether test images are normalised. Files that training alone reads may be missing.
A_TEST_MAY_CHANGE = ("DATALOADER.TEST", "DATASET", "MODEL.BACKBONE.NAME", "SEED", "TEST")

# Names in the checkpoints of CoOp's forks that belong to the class names, not to the prompts
OF_THE_CLASSES = ("token_prefix", "token_suffix")


class RunCheckpoints:
    """Saves, resumes and loads what one run trains, and knows which weights are at hand.

    Args:
        model: its `prompt_learner` and `training_only` are what is saved.
        optim, sched: of both together; None if nothing is trained.
        settings, data: the run's `experiment.settings_of` and `experiment.data_checksums`.
        backbone: {"name": MODEL.BACKBONE.NAME, "fingerprint": checksum of its weights}.
        directory: the run's own folder, its OUTPUT_DIR.
        started: time.time() at which the run began, or went on.
        max_epoch: epochs of the training; None: as the settings say.
        moves: how often `sched` has moved on after 0, 1, ... epochs; None: once in each.
    """

    def __init__(
        self,
        model: PromptedCLIP,
        optim: Optional[torch.optim.Optimizer],
        sched: Any,
        precision: Precision,
        settings: Dict[str, Any],
        data: Dict[str, str],
        backbone: Mapping[str, Any],
        directory: str,
        started: float,
        max_epoch: Optional[int] = None,
        moves: Optional[Sequence[int]] = None,
    ):
        self.started = started  # less what it took before it was resumed
        self.model, self.optim, self.sched, self.precision = model, optim, sched, precision
        self.settings, self.data, self.backbone = settings, data, backbone
        self.directory, self.moves = directory, moves
        self.max_epoch = 0 if optim is None else max_epoch or settings["OPTIM.MAX_EPOCH"]
        self.epoch = 0  # after how many epochs the weights at hand were as they are
        self.trained_epochs = 0  # how many their training has had; more than `epoch` if earlier weights are tested
        self.model_dir = ""  # the run that they were loaded from to be tested; "" if trained here
        self.model_settings: Optional[Dict[str, Any]] = None  # of that run, if its checkpoint says
        self.imported: Optional[Dict[str, str]] = None  # what public checkpoint they come from, if from one
        self.saved = ""  # the file that was written last

    def now_at(self, epoch: int) -> None:
        """Note that the weights at hand have been trained for `epoch` epochs."""
        self.epoch = self.trained_epochs = epoch

    def at_hand(self) -> Dict[str, Any]:
        """What a record says of the weights at hand, JSON values."""
        said = {
            "epoch": self.epoch,
            "trained_epochs": self.trained_epochs,
            "max_epoch": self.max_epoch,
            "model_dir": self.model_dir,
            "backbone": self.backbone["name"],
            "backbone_fingerprint": self.backbone["fingerprint"],
            "data": self.data,
        }
        if self.model_dir and self.model_settings is not None:
            said["model"] = {"fingerprint": fingerprint(self.model_settings), "epoch": self.epoch}
        if self.imported is not None:
            said["imported"] = self.imported
        return said

    # ---- writing -------------------------------------------------------------------------------------------

    def save(self, path: str, epoch: int, best_result: float, val_result: Optional[float] = None) -> None:
        """Dassl's layout; `training` holds what a resumed run needs beyond the prompt learner. `epoch` is from 1."""
        state = {
            "state_dict": self.model.prompt_learner.state_dict(),
            "epoch": epoch,
            "val_result": None if val_result is None else float(val_result),
            "backbone": self.backbone,
            "classnames": self.model.training_classnames,
            "settings": self.settings,
            "data": self.data["train"],
            "seconds": time.time() - self.started,
            "optimizer": self.optim.state_dict(),
            "training": {
                "modules": self.model.training_only.state_dict(),
                "precision": self.precision.state_dict(),
                "random": random_state(),
                "best_result": float(best_result),
            },
        }
        checkpoint.write(state, path)
        self.saved = path
        print(f"Checkpoint saved to {path}")

    def prune(self, folder: str, frequency: int) -> None:
        """Keep the last two, or of a finished training the last, and every `frequency`-th (none if below 1)."""
        last = self.trained_epochs
        # Two, so that the run goes on from the other should one be damaged
        newest = {last} if last == self.max_epoch else {last - 1, last}
        checkpoint.prune(folder, newest | {e for e in range(1, last) if frequency > 0 and e % frequency == 0})

    # ---- reading -------------------------------------------------------------------------------------------

    def initialise(self, path: str) -> None:
        """Start a new training from the prompts in the checkpoint `path`. Raises UserError if they do not fit."""
        state = checkpoint.read(path, "name another one with MODEL.INIT_WEIGHTS")
        weights = {name: value for name, value in state["state_dict"].items() if name not in OF_THE_CLASSES}
        self._load_prompts({**state, "state_dict": weights}, path)
        print(f"Initial weights of {LEARNER}: {path} (epoch = {state['epoch']})")

    def resume(self, directory: str) -> Optional[Tuple[int, float]]:
        """Go on from the newest readable checkpoint of the run in `directory`.

        Returns how many epochs are done and the best validation result so far, or None if there is no checkpoint. A
        damaged one is passed over. In the run's own folder it is renamed, so that its epoch is saved anew; from another
        the best model comes along.

        Raises UserError if one cannot be read or is not ours, or is of another experiment, sample of images, backbone
        or shape, or not finite. What a checkpoint does not say (those of earlier versions) is not compared.
        """
        folder, own = os.path.join(directory, LEARNER), self._is_own(directory)
        for epoch in reversed(checkpoint.epochs_in(folder)):
            path = checkpoint.path_of(folder, epoch)
            state = self._read_unless_damaged(path, own)
            if state is None:
                continue
            remedy = f"--resume goes on with the same experiment; MODEL.INIT_WEIGHTS {path} starts a new one from there"
            if own:
                remedy = (
                    f"use another OUTPUT_DIR, where MODEL.INIT_WEIGHTS can start from its prompts, or delete "
                    f'"{directory}" to start over (in scripts: FORCE=1)'
                )
            self._refuse_another_backbone(state, path)
            self._refuse_other_settings(state, path, ("MODEL.BACKBONE.NAME",), remedy)  # compared by its weights
            self._refuse_other_images(state, path, remedy)
            self._go_on_from(state, path, remedy)
            best_result = self._take_best_along(state["training"]["best_result"], folder, own, remedy)
            self.started -= state.get("seconds", 0.0)
            print(f"Resuming from {path} ({epoch} of {self.max_epoch} epochs are done)")
            return epoch, best_result
        return None

    def _is_own(self, directory):
        return os.path.realpath(directory) == os.path.realpath(self.directory)

    def _read_unless_damaged(self, path, own):
        try:
            return checkpoint.read(path)
        except DamagedFile:
            now = f"; it is now {checkpoint.set_aside(path)}" if own else ""
            print(f"Checkpoint {path} is damaged and passed over{now}")
            return None

    def _go_on_from(self, state, path, remedy):
        if not {"training", "optimizer"} & state.keys():
            raise UserError(f'Checkpoint "{path}" is an imported one, which can be tested but not resumed: {remedy}.')
        for key in ("training", "optimizer"):
            if key not in state:
                raise checkpoint.wrong(path, key, "is missing")
        if state["epoch"] > self.max_epoch:
            raise checkpoint.wrong(path, "epoch", f"is {state['epoch']}, beyond this run's {self.max_epoch}")
        training, modules = state["training"], self.model.training_only
        self._check_prompts(state, path)
        checkpoint.check_weights(modules.state_dict(), training["modules"], path)
        self._check_finite({name: training["modules"][name] for name, _ in modules.named_parameters()}, path)
        self._check_optimizer(state["optimizer"]["state"], path)
        try:
            set_random_state(training["random"])
            self.precision.load_state_dict(training["precision"])
        except ValueError as error:
            raise checkpoint.wrong(path, "training", f"holds {error}") from error
        self.model.prompt_learner.load_state_dict(state["state_dict"])
        modules.load_state_dict(training["modules"])
        # The schedule is replayed instead of saved: Dassl's warm-up schedulers hold each other as objects
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "step() before optimizer.step()"
            for _ in range(self.moves[state["epoch"]] if self.moves else state["epoch"]):
                self.sched.step()
        _load_state(self.optim, state["optimizer"]["state"])
        self.now_at(state["epoch"])

    def _take_best_along(self, best_result, folder, own, remedy):
        """The best result so far, whose model is made sure to be in the run's own folder.

        It is that of the file, which may be of an epoch whose own checkpoint was not finished or is damaged.
        """
        path = os.path.join(folder, checkpoint.BEST)
        if best_result == -float("inf"):  # nothing has been chosen
            return best_result
        best = self._read_unless_damaged(path, own) if os.path.lexists(path) else None
        if best is None:
            print(f"Note: the best model so far, {path}, is lost: the best is chosen among the epochs that follow")
            return -float("inf")
        self._refuse_other_settings(best, path, ("MODEL.BACKBONE.NAME",), remedy)
        self._check_prompts(best, path)
        if not own:
            checkpoint.write(best, os.path.join(self.directory, LEARNER, checkpoint.BEST))
        said = best.get("val_result")
        return best_result if said is None else float(said)

    def load(self, directory: str, epoch: Optional[int] = None, best: bool = False) -> None:
        """Load prompts to test: of `epoch`, or else the best if there are, or else (unless `best`) the last.

        Raises MissingFile (it names the epochs that exist), and UserError for a file that cannot be read, is damaged or
        not ours, and for prompts that were trained under other settings, on another backbone, of another shape or not
        finite.
        """
        self.model_dir = "" if self._is_own(directory) else directory
        if self.optim is None:  # nothing learned, nothing to load
            return
        folder = os.path.join(directory, LEARNER)
        path = self._path_to_load(folder, epoch, best)
        state = checkpoint.read(path, "test another epoch with --load-epoch, or train again")
        self._refuse_another_backbone(state, path)
        remedy = "give the test the config file and the KEY VALUE pairs of the training"
        files = map(checksum_key, TRAINING_FILES)
        self._refuse_other_settings(state, path, (*A_TEST_MAY_CHANGE, *files), remedy)
        self._load_prompts(state, path)
        self.model.seen_classes = self._are_seen(state)
        if "training" in state and "classnames" in state:  # imported ones have prompts alone
            self.model.load_training_only(state["training"]["modules"], state["classnames"], path)
        self.epoch, self.trained_epochs = state["epoch"], max([state["epoch"], *checkpoint.epochs_in(folder)])
        self.model_settings, self.imported = state.get("settings"), state.get("imported")
        print(f'Loading weights to {LEARNER} from "{path}" (epoch = {state["epoch"]})')

    def _are_seen(self, state):
        """Whether the model's classes are the checkpoint's; what it does not say (an imported one) is not compared."""
        theirs, ours = state.get("settings", {}), self.settings
        keys = ("DATASET.NAME", "DATASET.SUBSAMPLE_CLASSES")
        same = all(theirs.get(key, ours.get(key)) == ours.get(key) for key in keys)
        return same and state.get("classnames", self.model.classnames) == self.model.classnames

    def _path_to_load(self, folder, epoch, best):
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
        if epoch is not None and epoch not in epochs:
            raise MissingFile(f'No checkpoint of epoch {epoch} in "{folder}": --load-epoch can be {_listed(epochs)}.')
        return checkpoint.path_of(folder, epochs[-1] if epoch is None else epoch)

    # ---- refusing ------------------------------------------------------------------------------------------

    def _refuse_another_backbone(self, state, path):
        theirs = state.get("backbone", self.backbone)  # imported checkpoints do not say
        if theirs["fingerprint"] != self.backbone["fingerprint"]:
            raise UserError(
                f'Checkpoint "{path}" was trained on backbone {theirs["name"]}, whose weights or activation are not '
                f"those of {self.backbone['name']}: pass the same MODEL.BACKBONE.NAME and ACTIVATION."
            )

    def _refuse_other_settings(self, state, path, ignore, remedy):
        theirs, ours = complete(state.get("settings", {})), complete(self.settings)
        differing = differences(theirs, ours, ignore)
        if differing:
            key = differing[0]
            raise UserError(
                f'Checkpoint "{path}" was trained with {key} {theirs[key]!r}, but this run has {ours[key]!r}: {remedy}.'
            )

    def _refuse_other_images(self, state, path, remedy):
        ours = self.data["train"]
        if state.get("data", ours) != ours:
            raise UserError(
                f'Checkpoint "{path}" was trained on other images than this run\'s (checksum of their names '
                f"{state['data']}, here {ours}): {remedy}."
            )

    def _load_prompts(self, state, path):
        self._check_prompts(state, path)
        self.model.prompt_learner.load_state_dict(state["state_dict"])

    def _check_prompts(self, state, path):
        learner, weights = self.model.prompt_learner, state["state_dict"]
        # What it holds of each class, "" if it fits any
        classnames, class_specific = state.get("classnames"), getattr(learner, "class_specific", "")
        if class_specific and classnames is None:  # an imported one, of the classes that its settings say
            others = [key for key in A_TEST_MAY_CHANGE if key != "DATASET"]
            self._refuse_other_settings(state, path, others, "its contexts are those of the classes it was trained on")
        elif class_specific and classnames != self.model.classnames:
            raise UserError(
                f'Checkpoint "{path}" holds {class_specific} of the {len(classnames)} classes it was trained on, '
                f"which are not those of this run: test it on its own{getattr(learner, 'instead', '')}."
            )
        checkpoint.check_weights(learner.state_dict(), weights, path)
        self._check_finite(weights, path)

    def _check_finite(self, weights, path):
        bad = first_not_finite(weights.items())
        if bad:
            raise UserError(
                f'Checkpoint "{path}" holds infinite or NaN weights ({bad}): load an earlier epoch, or train again '
                f"with a lower OPTIM.LR."
            )

    def _check_optimizer(self, state, path):
        """Raise UserError unless a copy of the optimizer and of what it trains can take a step from `state`."""
        optim = copy.deepcopy(self.optim)
        parameters = [parameter for group in optim.param_groups for parameter in group["params"]]
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)
        try:
            _load_state(optim, copy.deepcopy(state))  # the optimizer would change the tensors that it is given
            optim.step()
        except Exception as error:  # which, depends on the optimizer
            raise checkpoint.wrong(path, "optimizer", "is not the state of this run's") from error
        if first_not_finite(("", parameter) for parameter in parameters) is not None:
            raise checkpoint.wrong(path, "optimizer", "holds infinite or NaN numbers")


def _load_state(optim, state):
    """The state of each parameter; learning rates and the like are this run's own, which has the same schedule."""
    optim.load_state_dict({"state": state, "param_groups": optim.state_dict()["param_groups"]})


def _listed(epochs: List[int]) -> str:
    return ", ".join(map(str, epochs))
