"""Tip-Adapter-F: Tip-Adapter, whose keys are trained by cross-entropy (arXiv 2111.03930, section 3.2).

    logits = exp(logit_scale) f G^T + alpha phi(f K^T) L,    phi(x) = exp(-beta (1 - x))

K starts as Tip-Adapter's and is all that learns; G and the labels L are frozen. Training has INIT_ALPHA and INIT_BETA;
those of the test are chosen on the validation images once the keys are trained.
"""

from dassl.engine import TRAINER_REGISTRY

from .base import PromptTrainer
from .keys import WEIGHT, Key, above, add_defaults, method_defaults, whole
from .prompting.cache import CachedCLIP

DEFAULTS = method_defaults()
# Augmented views of an image, whose mean starts its key (authors' configs)
DEFAULTS.AUGMENT_EPOCH = Key(10, whole(1, 1000))
DEFAULTS.INIT_ALPHA = Key(0.0, WEIGHT)  # alpha of the training; 0: the data set's (authors' configs)
DEFAULTS.INIT_BETA = Key(1.0, above(0))  # beta of the training (authors' configs)
DEFAULTS.SEARCH = True  # choose those of the test on the validation images (authors' configs)
DEFAULTS.MAX_ALPHA = Key(0.0, WEIGHT)  # largest alpha of the search; 0: the data set's (authors' configs)
DEFAULTS.MAX_BETA = Key(0.0, WEIGHT)  # largest beta of the search; 0: the data set's (authors' configs)
DEFAULTS.STEPS_ALPHA = Key(20, whole(1, 1000))  # values of alpha that are tried (authors' configs)
DEFAULTS.STEPS_BETA = Key(200, whole(1, 1000))  # values of beta that are tried (authors' configs)
add_defaults("TIPADAPTERF", DEFAULTS)


class CustomCLIP(CachedCLIP):
    def __init__(self, cfg, classnames, clip_model):
        super().__init__(cfg, classnames, clip_model, cfg.TRAINER.TIPADAPTERF, learns=True)


@TRAINER_REGISTRY.register()
class TipAdapterF(PromptTrainer):
    """Tip-Adapter: Training-free CLIP-Adapter for Better Vision-Language Modeling, with fine-tuning."""

    config_node = "TIPADAPTERF"
    custom_clip = CustomCLIP

    def prepare_training(self):
        if self.cfg.MODEL.INIT_WEIGHTS:  # keys that are there
            return
        views = range(self.cfg.TRAINER.TIPADAPTERF.AUGMENT_EPOCH)
        self.model.prompt_learner.fill(self.training_features(-1 - view) for view in views)

    def after_epoch(self):
        """Choose alpha and beta for whatever is kept of this epoch to be tested."""
        if self.epoch + 1 == self.max_epoch or self.cfg.TEST.FINAL_MODEL == "best_val":
            self.model.search(self.validation_features())
        super().after_epoch()
