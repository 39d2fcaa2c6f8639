"""The checkpoints of a run: what is in them, which are kept, and which of another run are refused.

How a file is written and read is in prompting/checkpoint.py.
"""

import os
import warnings
from typing import Any, Dict, Mapping, Optional

import torch

from .experiment import differences, fingerprint
from .prompting import checkpoint
from .prompting.model import PromptedCLIP
from .prompting.precision import Precision

LEARNER = "prompt_learner"  # name of the registered model, and of the folder of its checkpoints

# What a test may set otherwise than the training of its model: keys and whole sections. The backbone is compared by
# its weights, not by its name. All of INPUT is the model's: TRANSFORMS says both how training images are varied and
# whether test images are normalised.
A_TEST_MAY_CHANGE = ("DATALOADER", "DATASET", "MODEL.BACKBONE.NAME", "SEED", "TEST")


class RunCheckpoints:
    """Saves, resumes and loads what one run trains, and knows which weights are at hand.

    Args:
        model: its `prompt_learner` and `training_only` are what is saved.
        optim, sched: of both together; None if nothing is trained.
        settings, data: the run's `experiment.settings_of` and `experiment.data_checksums`.
        backbone: {"name": MODEL.BACKBONE.NAME, "fingerprint": checksum of its weights}.
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
    ):
        self.model, self.optim, self.sched, self.precision = model, optim, sched, precision
        self.settings, self.data, self.backbone = settings, data, backbone
        self.max_epoch = 0 if optim is None else settings["OPTIM.MAX_EPOCH"]
        self.epoch = 0  # after how many epochs the weights at hand were as they are
        self.trained_epochs = 0  # how many their training has had; more than `epoch` if earlier weights are tested
        self.model_dir = ""  # the run that they were loaded from to be tested; "" if trained here
        self.model_settings: Optional[Dict[str, Any]] = None  # of that run, if its checkpoint says

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
        return said

    # ---- writing -------------------------------------------------------------------------------------------

    def save(self, path: str, epoch: int, best_result: float, val_result: Optional[float] = None) -> None:
        """Dassl's layout; `training` holds what a resumed run needs beyond the prompt learner. `epoch` is from 1."""
        state = {
            "state_dict": self.model.prompt_learner.state_dict(),
            "epoch": epoch,
            "val_result": None if val_result is None else float(val_result),
            "backbone": self.backbone,
            "classnames": self.model.classnames,
            "settings": self.settings,
            "data": self.data["train"],
            "optimizer": self.optim.state_dict(),
            "training": {
                "modules": self.model.training_only.state_dict(),
                "precision": self.precision.state_dict(),
                "random": checkpoint.random_state(),
                "best_result": float(best_result),
            },
        }
        checkpoint.write(state, path)
        print(f"Checkpoint saved to {path}")

    def prune(self, folder: str, frequency: int) -> None:
        """Keep the last two, or of a finished training the last, and every `frequency`-th (none if below 1)."""
        last = self.trained_epochs
        # Two, so that the run goes on from the other should one be damaged
        newest = {last} if last == self.max_epoch else {last - 1, last}
        checkpoint.prune(folder, newest | {e for e in range(1, last) if frequency > 0 and e % frequency == 0})

    # ---- reading -------------------------------------------------------------------------------------------

    def resume(self, directory: str) -> Optional[Dict[str, Any]]:
        """Go on from the newest readable checkpoint of the run in `directory`; returns it, None if there is none.

        Raises ValueError if it is of another experiment, sample of images, backbone or shape, or not finite.
        What a checkpoint does not say (those of earlier versions) is not compared.
        """
        folder = os.path.join(directory, LEARNER)
        for epoch in reversed(checkpoint.epochs_in(folder)):
            path = checkpoint.path_of(folder, epoch)
            try:
                state = checkpoint.read(path)
            except ValueError as error:
                print(f"Ignored: {error}")
                continue
            remedy = f'use another OUTPUT_DIR, or delete "{directory}" to start over (in scripts: FORCE=1)'
            self._refuse_another_backbone(state, path)
            self._refuse_other_settings(state, path, ("MODEL.BACKBONE.NAME",), remedy)  # compared by its weights
            self._refuse_other_images(state, path, remedy)
            if "training" not in state:
                raise ValueError(
                    f'Checkpoint "{path}" is an imported one, which can be tested but not resumed: {remedy}.'
                )
            self._load_prompts(state, path)
            training = state["training"]
            checkpoint.load_weights(self.model.training_only, training["modules"], path)
            # The schedule is replayed instead of saved: Dassl's warm-up schedulers hold each other as objects
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # "step() before optimizer.step()"
                for _ in range(epoch):
                    self.sched.step()
            self.optim.load_state_dict(state["optimizer"])
            self.precision.load_state_dict(training["precision"])
            checkpoint.set_random_state(training["random"])
            self.now_at(epoch)
            print(f"Resuming from {path} ({epoch} of {self.max_epoch} epochs are done)")
            return state
        return None

    def load(self, directory: str, epoch: Optional[int] = None, own: bool = False) -> None:
        """Load prompts to test: of `epoch`, or else the best if there are, or else the last. `own`: of this run.

        Raises FileNotFoundError (it names the epochs that exist), and ValueError for a file that is damaged and for
        prompts that were trained under other settings, on another backbone, of another shape or not finite.
        """
        self.model_dir = "" if own else directory
        if self.optim is None:  # nothing learned, nothing to load
            return
        folder = os.path.join(directory, LEARNER)
        epochs, best = checkpoint.epochs_in(folder), os.path.join(folder, checkpoint.BEST)
        if epoch is None and os.path.isfile(best):
            path = best
        elif not epochs:
            raise FileNotFoundError(f'No checkpoint below "{folder}": train first, or correct --model-dir.')
        elif epoch is not None and epoch not in epochs:
            raise FileNotFoundError(
                f'No checkpoint of epoch {epoch} in "{folder}": --load-epoch can be {", ".join(map(str, epochs))}.'
            )
        else:
            path = checkpoint.path_of(folder, epochs[-1] if epoch is None else epoch)
        state = checkpoint.read(path)
        self._refuse_another_backbone(state, path)
        remedy = "give the test the config file and the KEY VALUE pairs of the training"
        self._refuse_other_settings(state, path, A_TEST_MAY_CHANGE, remedy)
        self._load_prompts(state, path)
        self.epoch, self.trained_epochs = state["epoch"], max([state["epoch"], *epochs])
        self.model_settings = state.get("settings")
        print(f'Loading weights to {LEARNER} from "{path}" (epoch = {state["epoch"]})')

    def _refuse_another_backbone(self, state, path):
        theirs = state.get("backbone", self.backbone)  # imported checkpoints do not say
        if theirs["fingerprint"] != self.backbone["fingerprint"]:
            raise ValueError(
                f'Checkpoint "{path}" was trained on backbone {theirs["name"]}, whose weights are not those of '
                f"{self.backbone['name']}: pass the same MODEL.BACKBONE.NAME."
            )

    def _refuse_other_settings(self, state, path, ignore, remedy):
        theirs = state.get("settings", {})
        differing = differences(theirs, self.settings, ignore)
        if differing:
            key = differing[0]
            raise ValueError(
                f'Checkpoint "{path}" was trained with {key} {theirs[key]!r}, but this run has {self.settings[key]!r}: '
                f"{remedy}."
            )

    def _refuse_other_images(self, state, path, remedy):
        ours = self.data["train"]
        if state.get("data", ours) != ours:
            raise ValueError(
                f'Checkpoint "{path}" was trained on other images than this run\'s (checksum of their names '
                f"{state['data']}, here {ours}): {remedy}."
            )

    def _load_prompts(self, state, path):
        learner, weights = self.model.prompt_learner, state["state_dict"]
        classnames = state.get("classnames", self.model.classnames)
        if getattr(learner, "class_specific", False) and classnames != self.model.classnames:
            raise ValueError(
                f'Checkpoint "{path}" holds a context for each of the {len(classnames)} classes it was trained on, '
                f"which are not those of this run: test it on its own, or train a context for all (CSC False)."
            )
        bad = checkpoint.first_not_finite(weights.items())
        if bad:
            raise ValueError(
                f'Checkpoint "{path}" holds infinite or NaN weights ({bad}): load an earlier epoch, or train again '
                f"with a lower OPTIM.LR."
            )
        checkpoint.load_weights(learner, weights, path)
