"""Linear probe: logistic regression on frozen image features (arXiv 2103.00020, section 3.2 and appendix A.3).

    logits = W x + b,    W, b minimise  C sum_i CE(W x_i + b, y_i) + |W|^2 / 2

x: an image's feature as the encoder gives it, not normalised. W and b are scikit-learn's, by L-BFGS with at most 1,000
iterations; C is swept on the validation images from 1e-6 to 1e6, then ever finer around the best, in the steps of
CoOp's code (arXiv 2109.01134, lpclip), which made the few-shot curves of this baseline. No text is read, so that the
classifier knows no other classes than those it was fitted to.
"""

from typing import Callable, Dict

import numpy as np
import torch
from torch import nn

from dassl.engine import TRAINER_REGISTRY

from .base import PromptTrainer
from .compat import autocast
from .errors import NotFinite
from .keys import Key, above, add_defaults, method_defaults, whole
from .prompting.model import PromptedCLIP, normalise

DEFAULTS = method_defaults()
# Inverse strength of the regularisation where no validation images choose it (ImageNet); the example of CLIP's README
DEFAULTS.C = Key(0.316, above(0))
DEFAULTS.SWEEP_STEPS = Key(8, whole(1, 50))  # halvings of the interval around the best C, at first two decades (CoOp)
add_defaults("LINEARPROBE", DEFAULTS)

DECADES = range(6, -7, -2)  # the exponents of C that are tried first (both sources)
MAX_ITERATIONS = 1000  # of L-BFGS (both sources)


class Classifier(nn.Linear):
    """W (n_cls, dim) and b (n_cls,)."""

    class_specific = "a linear classifier"


class CustomCLIP(PromptedCLIP):
    predicts_by_text = False

    def __init__(self, cfg, classnames, clip_model):
        super().__init__(cfg, classnames, clip_model)
        self.prompt_learner = Classifier(self.text_encoder.text_projection.shape[1], len(classnames))

    def encode_text(self):
        """No text: the directions of the classifier stand in its place."""
        return normalise(self.prompt_learner.weight)

    def text_views(self):
        return {}

    def forward(self, image, label=None, text_features=None):
        """text_features are not read."""
        x = self.image_encoder(image).float()
        with autocast(x.device.type, enabled=False):
            logits = self.prompt_learner(x)
        return logits if label is None else (logits, self.losses(x, None, logits, label))


def sweep(accuracy: Callable[[float], float], n_steps: int) -> float:
    """The C that CoOp's code ends with: the best decade, then n_steps times the better end of a halved interval.

    accuracy: of a C, on the validation images. Of equals the first decade, and the smaller end, is taken.
    """
    known: Dict[float, float] = {}

    def at(exponent):
        if exponent not in known:
            known[exponent] = accuracy(10.0**exponent)
        return known[exponent]

    peak = max(DECADES, key=at)
    left, right = peak - 1.0, peak + 1.0
    for _ in range(n_steps):
        middle, up = (left + right) / 2, at(left) < at(right)
        best = right if up else left
        left, right = (middle, right) if up else (left, middle)
    return 10.0**best


def fit_regression(x: np.ndarray, y: np.ndarray, c: float):
    """scikit-learn's classifier of features (n, dim) and labels (n,)."""
    from sklearn.linear_model import LogisticRegression  # here: no other method needs it

    return LogisticRegression(C=c, max_iter=MAX_ITERATIONS).fit(x, y)


def weights_of(regression):
    """W (n_cls, dim) and b (n_cls,); of two classes scikit-learn keeps one row, that of their difference."""
    weight, bias = regression.coef_, regression.intercept_
    if len(weight) == 1:
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return weight, bias


@TRAINER_REGISTRY.register()
class LinearProbe(PromptTrainer):
    """Learning Transferable Visual Models From Natural Language Supervision: its linear classifier."""

    config_node = "LINEARPROBE"
    custom_clip = CustomCLIP

    def fit(self):
        options = self.cfg.TRAINER.LINEARPROBE
        features, labels = zip(*self.training_features())
        x, y = self._arrays(torch.cat(features), torch.cat(labels))
        validation, c = self.validation_features(), options.C
        if validation is None:
            print(f"C {c:g}: there are no validation images to choose it on")
        else:
            x_val, y_val = self._arrays(*validation)
            c = sweep(lambda c: fit_regression(x, y, c).score(x_val, y_val), options.SWEEP_STEPS)
            print(f"C {c:g}: chosen on {len(y_val)} validation images")
        weight, bias = weights_of(fit_regression(x, y, c))
        self.model.prompt_learner.weight.copy_(torch.from_numpy(weight))
        self.model.prompt_learner.bias.copy_(torch.from_numpy(bias))

    def _arrays(self, features, labels):
        if not torch.isfinite(features).all():
            raise NotFinite(f"Image features are infinite or NaN: {self._steadier()}, and start over.")
        return features.double().cpu().numpy(), labels.cpu().numpy()
