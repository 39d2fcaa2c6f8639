"""E2MIM: MI-based ensemble and exploration (arXiv 2410.03189, Generalizable Prompt Tuning for VLMs).

Hand-crafted prompts generalise, learned prompts fit: they are two views of the text modality. Both predict from the
same image features, real ones and class-wise mixed ones (Mixup of two classes), and a learnable estimator maximises
the mutual information of the two predictions. [source]

The authors have published no code. What their text leaves open is decided here, is a config key, and is marked
[ours]; docs/methods.md states every equation with its mark.
"""

from collections import OrderedDict

import torch
from torch.nn import functional as F

from dassl.engine import TRAINER_REGISTRY

from .base import PromptTrainer
from .errors import UserError
from .keys import TOKENS, WEIGHT, WIDTH, Key, above, add_defaults, between, from_below, method_defaults, one_of
from .prompting.image_batch import labels_on_host, pixels_of
from .prompting.mixup import draw_lam, draw_partners, mix_features, mix_targets, mixup, soft_cross_entropy
from .prompting.model import PromptedCLIP
from .prompting.mutual_information import (
    ClassInformation,
    ClusterInformation,
    Critic,
    CriticInformation,
    MIEstimator,
)
from .prompting.prompt_text import ContextLearner
from .prompting.templates import IMAGENET_TEMPLATES, template_for

DEFAULTS = method_defaults()
DEFAULTS.N_CTX = Key(16, TOKENS)  # context tokens, when CTX_INIT is empty [ours]
DEFAULTS.CTX_INIT = ""  # words whose embedding starts the context; they set the number of tokens [ours]
DEFAULTS.TEMPLATES = None  # hand-crafted view: list of templates, or "imagenet"; None: the data set's template [ours]
DEFAULTS.LOSS_VIEW = Key("learned", one_of("learned", "ensemble", "both"))  # whose predictions the CE is of [ours]
DEFAULTS.EVAL_VIEW = Key("ensemble", one_of("learned", "ensemble"))  # whose predictions evaluation takes [ours]
DEFAULTS.ENSEMBLE_WEIGHT = Key(0.5, between(0, 1))  # a, share of the learned view in the ensemble [ours]
DEFAULTS.MIXUP_WEIGHT = Key(1.0, WEIGHT)  # weight of the CE on mixed images; 0 turns it off [ours]
DEFAULTS.MIXUP_ALPHA = Key(1.0, above(0))  # lambda ~ Beta(alpha, alpha) [ours]
DEFAULTS.MIXUP_SPACE = Key("feature", one_of("feature", "image"))  # what is mixed [ours]
DEFAULTS.MIXUP_IN = Key("mi", one_of("none", "ce", "mi", "both"))  # terms that see mixed images [source: the views, mi]
DEFAULTS.MI_WEIGHT = Key(1.0, WEIGHT)  # weight of the estimate of mutual information; 0 turns it off [ours]
DEFAULTS.MI_ESTIMATOR = Key("jsd", one_of(*MIEstimator.bounds, "class", "cluster"))  # bound, or closed form [ours]
DEFAULTS.MI_INPUT = Key("probability", one_of("probability", "feature"))  # what a critic reads of a view [ours]
DEFAULTS.N_CLUSTERS = Key(16, WIDTH)  # of `cluster` [ours]
DEFAULTS.CRITIC_HIDDEN = Key(256, WIDTH)  # width of the critic's hidden layers [ours]
DEFAULTS.CRITIC_OUT = Key(128, WIDTH)  # width of the critic's embeddings [ours]
DEFAULTS.CRITIC_SCALE = Key(10.0, above(0))  # scores of the critic lie within plus and minus this [ours]
DEFAULTS.DV_DECAY = Key(0.9, from_below(0, 1))  # of dv's moving average, per step [ours]
add_defaults("E2MIM", DEFAULTS)


class PromptLearner(ContextLearner):
    def __init__(self, cfg, classnames, clip_model):
        options = cfg.TRAINER.E2MIM
        super().__init__("TRAINER.E2MIM.N_CTX", clip_model, classnames, options.N_CTX, options.CTX_INIT)


def hand_templates(cfg):
    """Templates of the hand-crafted view."""
    templates = cfg.TRAINER.E2MIM.TEMPLATES
    if not templates:
        return [template_for(cfg)]
    if templates == "imagenet":
        return IMAGENET_TEMPLATES
    several = isinstance(templates, (list, tuple))
    wrong = [t for t in templates if not isinstance(t, str) or t.count("{}") != 1] if several else [templates]
    if wrong:
        raise UserError(
            f'TRAINER.E2MIM.TEMPLATES "{wrong[0]}" is neither a list of templates with one {{}} each nor "imagenet".'
        )
    return list(templates)


def estimator_of(options, dim):
    """The estimator of mutual information of two views, which are (n, dim)."""
    if options.MI_ESTIMATOR == "class":
        if options.MI_INPUT != "probability":
            raise UserError(
                "TRAINER.E2MIM.MI_ESTIMATOR class is of the classes' probabilities: set MI_INPUT to probability, or "
                "take another estimator."
            )
        return ClassInformation()
    if options.MI_ESTIMATOR == "cluster":
        return ClusterInformation(dim, dim, options.N_CLUSTERS)
    critic = Critic(dim, dim, options.CRITIC_HIDDEN, options.CRITIC_OUT, options.CRITIC_SCALE)
    return CriticInformation(options.MI_ESTIMATOR, critic, options.DV_DECAY)


class CustomCLIP(PromptedCLIP):
    def __init__(self, cfg, classnames, clip_model):
        super().__init__(cfg, classnames, clip_model)
        options = self.options = cfg.TRAINER.E2MIM
        self.mixes_pixels = options.MIXUP_SPACE == "image"
        self._said = set()
        self.prompt_learner = PromptLearner(cfg, classnames, clip_model)
        self.add_hand_features(clip_model, hand_templates(cfg))  # T_h
        if options.MI_WEIGHT > 0:  # it reads predictions, so it belongs to the training classes
            dim = len(classnames) if options.MI_INPUT == "probability" else self.hand_features.shape[1]
            self.training_only["estimator"] = estimator_of(options, dim)

    # ---- the method ------------------------------------------------------------------------------------------

    def training_pass(self, image, label):
        """Cross-entropy, and the information that T_h's and T_s's predictions of real and mixed images share."""
        f, hand, learned = self.encode_image(image), self.hand_features, self.learned_features()  # F, T_h, T_s
        judged = self.judged(learned)
        losses = OrderedDict(ce=self.cross_entropy(f, judged, label))
        mixed = self.mix(image, f, label, len(learned))
        if mixed and self.reads_mixed("ce"):
            f_mix, target = mixed
            losses["mix"] = self.options.MIXUP_WEIGHT * self.cross_entropy(f_mix, judged, target)
        both = torch.cat([f, mixed[0]]) if mixed and self.reads_mixed("mi") else f  # [f; f_mix]
        if self.options.MI_WEIGHT > 0 and self.has_pairs(both):
            losses["mi"] = -self.options.MI_WEIGHT * self.information(both, hand, learned)
        g = self.text_of(self.options.EVAL_VIEW, learned)
        return f, g, self.logits(f, g), losses

    def mix(self, image, f, label, n_cls):
        """Class-wise Mixup: features of "class 1 & 2" and their targets.

        f (B, dim), label (B,) -> (B, dim) normalised, (B, n_cls). None if no term reads them, or all are of one class.
        """
        if not (self.reads_mixed("ce") or self.reads_mixed("mi")):
            return None
        partner = draw_partners(labels_on_host(image, label), label.device)
        if partner is None:
            self.say_once("a batch held images of one class only: its mixed part is left out")
            return None
        lam = draw_lam(len(label), self.options.MIXUP_ALPHA, label.device)
        if self.mixes_pixels:
            pixels = pixels_of(image)
            f_mix = self.encode_image(mixup(pixels, pixels[partner], lam))
        else:
            f_mix = mix_features(f, partner, lam)
        return f_mix, mix_targets(label, partner, lam, n_cls)

    def information(self, f, *views):
        """The estimate of the mutual information of what two views (n_cls, dim) predict of images f (n, dim)."""
        estimator = self.training_only["estimator"]
        estimate = estimator(*(self.prediction(f, view) for view in views))
        self.monitors["mi_nats" if estimator.nats else "mi_jsd"] = estimate.detach()
        return estimate

    def learned_features(self):
        """T_s (n_cls, dim)."""
        return super().encode_text()

    def encode_text(self):
        return self.text_of(self.options.EVAL_VIEW, self.learned_features())

    def text_views(self):
        return {"hand-crafted": self.hand_features, "learned": self.learned_features()}

    # ---- what the paper leaves open, as the config says [ours] ----------------------------------------------

    def text_of(self, view, learned):
        """Text features (n_cls, dim) of the view `learned` or `ensemble`.

        The ensemble, (1 - a) T_h + a T_s, gives the same logits as averaging those of the views.
        """
        a = self.options.ENSEMBLE_WEIGHT
        return learned if view == "learned" else (1 - a) * self.hand_features + a * learned

    def judged(self, learned):
        """Text features of the views whose predictions the cross-entropy is of."""
        views = ("learned", "ensemble") if self.options.LOSS_VIEW == "both" else (self.options.LOSS_VIEW,)
        return [self.text_of(view, learned) for view in views]

    def cross_entropy(self, f, judged, target):
        """The mean over views. target: labels (B,), or probabilities (B, n_cls)."""
        loss = F.cross_entropy if target.dim() == 1 else soft_cross_entropy
        return sum(loss(self.logits(f, g), target) for g in judged) / len(judged)

    def reads_mixed(self, term):
        """Whether the term "ce" or "mi" is trained, and on mixed images as well."""
        weight = self.options.MIXUP_WEIGHT if term == "ce" else self.options.MI_WEIGHT
        return self.options.MIXUP_IN in (term, "both") and weight > 0

    def has_pairs(self, f):
        if len(f) == 1:
            self.say_once("a batch of one image has no pairs: its mutual information is left out")
        return len(f) > 1

    def prediction(self, f, text):
        """What the estimator reads: log-probabilities (n, n_cls), or the text that they expect (n, dim)."""
        log_p = self.logits(f, text).log_softmax(dim=-1)
        return log_p if self.options.MI_INPUT == "probability" else log_p.exp() @ text

    def say_once(self, message):
        if message not in self._said:
            self._said.add(message)
            print(f"Note: {message}")


@TRAINER_REGISTRY.register()
class E2MIM(PromptTrainer):
    """Generalizable Prompt Tuning for Vision-Language Models."""

    config_node = "E2MIM"
    smallest_batch = 2  # its critics standardise over the batch
    custom_clip = CustomCLIP
