"""The checkpoints of a training: what is in them, which are kept, and from which it goes on.

How a file is written and read is in checkpoint.py.
"""

import copy
import os
import time
import warnings
from dataclasses import dataclass
from typing import Any, Dict, Optional, Sequence, Tuple

import torch

from ..errors import UserError
from ..files.torch_file import DamagedFile
from ..precision import Precision, first_not_finite
from ..prompting.model import PromptedCLIP
from ..random_state import random_state, set_random_state
from . import checkpoint
from .experiment import fingerprint
from .loader import LEARNER, Loaded, PromptLoader

# What tells a model's run from others in a table, and its test's with it
ROW = ("DATASET.NAME", "DATASET.NUM_SHOTS", "DATASET.SUBSAMPLE_CLASSES", "SEED", "TRAINER.NAME")


@dataclass
class RunSaver:
    """Saves and resumes what one run trains, and knows which weights are at hand."""

    loader: PromptLoader  # of the run's model, whose `prompt_learner` and `training_only` are what is saved
    optim: Optional[torch.optim.Optimizer]  # of both together; None if nothing is trained
    sched: Any  # its learning-rate schedule
    precision: Precision
    data: Dict[str, str]  # the run's `experiment.data_checksums`
    pictures: Optional[str]  # digest of what is in the pictures of a few-shot sample; None if not known
    directory: str  # the run's own folder, its OUTPUT_DIR
    max_epoch: int  # epochs of the training; 0 if nothing is trained
    moves: Sequence[int]  # how often `sched` has moved on after 0, 1, ... epochs
    started: float  # time.time() at which the run began, less what it took before it was resumed
    at: Loaded = Loaded(0, 0, settings=None, imported=None)  # the weights at hand
    model_dir: str = ""  # the run that they were loaded from to be tested; "" if trained here
    saved: str = ""  # the file that was written last

    @property
    def model(self) -> PromptedCLIP:
        return self.loader.model

    def now_at(self, epoch: int) -> None:
        """Note that the weights at hand have been trained for `epoch` epochs."""
        self.at = Loaded(epoch, epoch, settings=None, imported=None)

    def load(self, directory: str, epoch: Optional[int] = None, best: bool = False) -> None:
        """As `PromptLoader.load`, and note which weights are at hand."""
        self.model_dir = "" if self._is_own(directory) else directory
        self.at = self.loader.load(directory, epoch, best) or self.at

    def at_hand(self) -> Dict[str, Any]:
        """What a record says of the weights at hand, JSON values."""
        at, backbone = self.at, self.loader.backbone
        said = {
            "epoch": at.epoch,
            "trained_epochs": at.trained_epochs,
            "max_epoch": self.max_epoch,
            "final_model": at.is_final,
            "model_dir": self.model_dir,
            "backbone": backbone["name"],
            "backbone_fingerprint": backbone["fingerprint"],
            "backbone_weights": backbone["weights"],
            "backbone_files": backbone["files"],
            "data": self.data,
        }
        if self.model_dir and at.settings is not None:
            row = {key: at.settings[key] for key in ROW if key in at.settings}
            said["model"] = {"fingerprint": fingerprint(at.settings), "epoch": at.epoch, "settings": row}
        if at.imported is not None:
            said["imported"] = at.imported
        return said

    # ---- writing -------------------------------------------------------------------------------------------

    def save(self, path: str, epoch: int, best_result: float, val_result: Optional[float] = None) -> None:
        """Dassl's layout; `training` holds what a resumed run needs beyond the prompt learner. `epoch` is from 1."""
        state = {
            "state_dict": self.model.prompt_learner.state_dict(),
            "epoch": epoch,
            "val_result": None if val_result is None else float(val_result),
            "backbone": self.loader.backbone,
            "classnames": self.model.training_classnames,
            "settings": self.loader.settings,
            "data": self.data["train"],
            "pictures": self.pictures,
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
        last = self.at.trained_epochs
        # Two, so that the run goes on from the other should one be damaged
        newest = {last} if last == self.max_epoch else {last - 1, last}
        checkpoint.prune(folder, newest | {e for e in range(1, last) if frequency > 0 and e % frequency == 0})

    # ---- reading -------------------------------------------------------------------------------------------

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
            self.loader.refuse_another_backbone(state, path)
            self.loader.refuse_other_settings(state, path, ("MODEL.BACKBONE.NAME",), remedy)  # compared by its weights
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
        self.loader.check_prompts(state, path)
        checkpoint.check_weights(modules.state_dict(), training["modules"], path)
        checkpoint.check_finite({name: training["modules"][name] for name, _ in modules.named_parameters()}, path)
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
            for _ in range(self.moves[state["epoch"]]):
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
        self.loader.refuse_other_settings(best, path, ("MODEL.BACKBONE.NAME",), remedy)
        self.loader.check_prompts(best, path)
        if not own:
            checkpoint.write(best, os.path.join(self.directory, LEARNER, checkpoint.BEST))
        said = best.get("val_result")
        return best_result if said is None else float(said)

    def _refuse_other_images(self, state, path, remedy):
        ours = self.data["train"]
        if state.get("data", ours) != ours:
            raise UserError(
                f'Checkpoint "{path}" was trained on other images than this run\'s (checksum of their names '
                f"{state['data']}, here {ours}): {remedy}."
            )
        if None not in (self.pictures, state.get("pictures")) and self.pictures != state["pictures"]:
            raise UserError(f'Checkpoint "{path}" was trained on images that have changed since: {remedy}.')

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
