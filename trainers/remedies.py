"""Remedies for badly calibrated probabilities, applied after training, without labels of new classes: TEST.REMEDIES.

- temperature: logits / T, with the T that makes the validation images of the training's classes likeliest. Guo et al.
  2017 (1706.04599), section 4.2.
- dac: the logits of an image are multiplied by r of the class that it is predicted as. Distance-Aware Calibration
  (2402.04655): r = s_tuned / s_zero-shot, where s = exp(-mean distance from the class's text features to the K nearest
  of the training's classes), all of unit length; 1 where the nearest tuned ones are closer than 0.05, as the training's
  own classes are. K = 5, and zero-shot CLIP's template is the data set's, as in its public code. That divides by K also
  where there are fewer classes; here it is a mean.

No remedy changes which class is predicted, nor the result: numbers of calibration stand beside those without it.
"""

import contextlib
import io
from typing import Any, Callable, Dict, Optional

import numpy as np
import torch

from dassl.data import DataManager

from .backbone.clip_loader import frozen_clip
from .errors import UserError
from .precision import Precision
from .prompting.model import encode_prompts
from .prompting.templates import template_for
from .random_state import random_state, set_random_state
from .run.folder import RunFolder

TEMPERATURE, DAC = "temperature", "dac"
NEIGHBOURS = 5
SAME = 0.05  # distance of text features that are those of a training's class

Fit = Callable[[np.ndarray, np.ndarray], float]  # logits (n, n_cls), labels (n) -> T


class Remedies:
    """Those of a test.

    Args:
        trainer: the `PromptTrainer` that makes the test; it learns something.
        model_dir: the run of the training; empty: the trainer's own.

    Raises UserError for what the method or the data set does not have.
    """

    def __init__(self, trainer: Any, model_dir: str):
        cfg, self.trainer, self.names = trainer.cfg, trainer, trainer.cfg.TEST.REMEDIES
        if DAC in self.names and trainer.model.text_depends_on_image:
            raise UserError(
                f"{cfg.TRAINER.NAME}'s text features differ with each image, so that dac has none to compare: leave it "
                "out of TEST.REMEDIES."
            )
        self.folder, self.cfg, self.data = model_dir or cfg.OUTPUT_DIR, cfg, trainer.dm
        if model_dir:
            run, state = RunFolder(model_dir), random_state()
            self.cfg = cfg.clone()
            self.cfg.defrost()
            self.cfg.DATASET.update({key: value for key, value in run.cfg.DATASET.items() if key != "ROOT"})
            self.cfg.freeze()
            with contextlib.redirect_stdout(io.StringIO()):
                self.data = DataManager(self.cfg)
            set_random_state(state)
        dataset = self.data.dataset
        tested = {item.impath for item in dataset.test}
        if TEMPERATURE in self.names and (not dataset.val or any(item.impath in tested for item in dataset.val)):
            raise UserError(
                f"{self.cfg.DATASET.NAME} has no validation images that are not tested, too, by which a temperature "
                "could be fitted: leave it out of TEST.REMEDIES."
            )

    @torch.no_grad()
    def __call__(self, fit: Fit) -> Dict[str, np.ndarray]:
        """By remedy, what the logits of an image that is predicted as a class are multiplied by: (n_cls,)."""
        trainer, classnames = self.trainer, self.data.dataset.classnames
        state = random_state()
        with contextlib.redirect_stdout(io.StringIO()):
            model, precision = RunFolder(self.folder).model(
                classnames, trainer.device, trainer.cfg.TRAINER[trainer.config_node].PREC
            )
            found = {}
            if TEMPERATURE in self.names:
                found[TEMPERATURE] = np.full(trainer.num_classes, 1 / fit(*self._validation_logits(model, precision)))
            if DAC in self.names:
                found[DAC] = self._distance_aware(model, precision)
        set_random_state(state)  # what building has drawn
        return found

    def _validation_logits(self, model, precision):
        logits, labels = [], []
        with precision.autocast():
            text = None if model.text_depends_on_image else model.encode_text()
            for batch in self.data.val_loader:
                logits.append(model(batch["img"].to(self.trainer.device), text_features=text).float().cpu())
                labels.append(batch["label"])
        return torch.cat(logits).numpy(), torch.cat(labels).numpy()

    def _distance_aware(self, model, precision):
        trainer, tuned = self.trainer, []
        for each, its in ((model, precision), (trainer.model, trainer.precision)):
            with its.autocast():
                tuned.append(each.encode_text().float())
        clip_model, _ = frozen_clip(self.cfg, Precision("fp32", trainer.device), trainer.device)
        plain = [
            encode_prompts(clip_model, [template_for(cfg)], data.dataset.classnames)
            for cfg, data in ((self.cfg, self.data), (trainer.cfg, trainer.dm))
        ]
        return distance_aware(*(features.cpu().double().numpy() for features in (*tuned, *plain)))


def distance_aware(tuned_base, tuned, plain_base, plain) -> np.ndarray:
    """r of each class of a test (n_cls,), from unit text features.

    tuned_base, tuned: of the training's classes (n_base, dim) and of the test's (n_cls, dim); plain: zero-shot CLIP's.
    """

    def nearest(base, features):
        return np.sort(np.linalg.norm(features[:, None] - base, axis=2), axis=1)[:, :NEIGHBOURS]

    near, near_plain = nearest(tuned_base, tuned), nearest(plain_base, plain)
    ratio = np.exp(near_plain.mean(axis=1) - near.mean(axis=1))
    return np.where(near[:, 0] < SAME, 1.0, ratio)


def remedies_of(trainer, model_dir: str, load_epoch: Optional[int]) -> Optional[Remedies]:
    """What TEST.REMEDIES asks of a test: None if nothing, or of a method that learns nothing. Raises UserError."""
    names = trainer.cfg.TEST.REMEDIES
    if not names:
        return None
    if not hasattr(trainer, "config_node"):
        raise UserError(
            f"TEST.REMEDIES are for methods of this project, not for {trainer.cfg.TRAINER.NAME}: leave it out."
        )
    if load_epoch is not None:
        raise UserError("TEST.REMEDIES are for the model that a training ends with: leave --load-epoch (LOADEP) out.")
    if not trainer.n_params and not trainer.fit:
        print(f"{trainer.cfg.TRAINER.NAME} has learned from no classes, so that TEST.REMEDIES have nothing to compare")
        return None
    return Remedies(trainer, model_dir)
