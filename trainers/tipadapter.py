"""Tip-Adapter: a cache of the training images beside zero-shot CLIP, without any training (arXiv 2111.03930).

    logits = exp(logit_scale) f G^T + alpha phi(f K^T) L,    phi(x) = exp(-beta (1 - x))

f: an image's feature; G: the text features of hand-crafted prompts; K: the features of the training images, of each the
mean over AUGMENT_EPOCH augmented views; L: their labels, one-hot. alpha and beta are chosen on the validation images.
The cache knows no other classes than those of its images. docs/methods.md lists what differs from the authors' code.
"""

from dassl.engine import TRAINER_REGISTRY

from .base import PromptTrainer
from .keys import WEIGHT, Key, above, add_defaults, method_defaults, whole
from .prompting.cache import CachedCLIP

DEFAULTS = method_defaults()
# Augmented views of an image, whose mean is its key (authors' configs)
DEFAULTS.AUGMENT_EPOCH = Key(10, whole(1, 1000))
DEFAULTS.INIT_ALPHA = Key(0.0, WEIGHT)  # alpha without a search; 0: the data set's (authors' configs)
DEFAULTS.INIT_BETA = Key(1.0, above(0))  # beta without a search (authors' configs)
DEFAULTS.SEARCH = True  # choose both on the validation images (authors' configs)
DEFAULTS.MAX_ALPHA = Key(0.0, WEIGHT)  # largest alpha of the search; 0: the data set's (authors' configs)
DEFAULTS.MAX_BETA = Key(0.0, WEIGHT)  # largest beta of the search; 0: the data set's (authors' configs)
DEFAULTS.STEPS_ALPHA = Key(20, whole(1, 1000))  # values of alpha that are tried (authors' configs)
DEFAULTS.STEPS_BETA = Key(200, whole(1, 1000))  # values of beta that are tried (authors' configs)
add_defaults("TIPADAPTER", DEFAULTS)


class CustomCLIP(CachedCLIP):
    def __init__(self, cfg, classnames, clip_model):
        super().__init__(cfg, classnames, clip_model, cfg.TRAINER.TIPADAPTER, learns=False)


@TRAINER_REGISTRY.register()
class TipAdapter(PromptTrainer):
    """Tip-Adapter: Training-free CLIP-Adapter for Better Vision-Language Modeling."""

    config_node = "TIPADAPTER"
    custom_clip = CustomCLIP

    def fit(self):
        views = range(self.cfg.TRAINER.TIPADAPTER.AUGMENT_EPOCH)
        self.model.prompt_learner.fill(self.training_features(-1 - view) for view in views)
        self.model.search(self.validation_features())
