"""MMA++: effective multi-modal adaptation (TPAMI 2026, doi 10.1109/TPAMI.2026.3691448).

MMA's adapters, whose middle the two encoders share, at three scales a. With z a layer's input behind ln_1, from layer
LAYER on,

    layer(x)  ->  layer(x) + a W_up dropout(relu(W_shared relu(W_down z))),    each W with a bias.

A step has a = SCALE, and another pass without gradients at a = u SCALE, u from U(0, 1). Its features f', g' are what
those that are trained are to agree with:

    loss = ce - W mean cos(g, g') - W mean cos(f, f').

A test has a = TEST_SCALE, which is smaller: a few images say less of a task than they weigh in training.

A class has several texts: a language model's (SENTENCES), or CLIP's 80 templates. A step draws one for each class, and
a test takes the mean of all.
"""

from collections import OrderedDict

import torch
from torch.nn import functional as F

from dassl.engine import TRAINER_REGISTRY

from .base import PromptTrainer
from .between_graphs import uniform
from .keys import CLASS_FILE, WEIGHT, WIDTH, Key, above, add_defaults, from_below, method_defaults, whole
from .prompting.adapters import SharedAdapters
from .prompting.class_texts import ClassTexts
from .prompting.model import PromptedCLIP, normalise
from .prompting.prompt_text import tokenize_classes, tokenize_cut
from .prompting.sentences import read_sentences
from .prompting.templates import IMAGENET_TEMPLATES, PHOTO, template_for

DEFAULTS = method_defaults()
DEFAULTS.LAYER = Key(4, whole(0))  # first layer with adapters, from 0 (authors' code: 5, from 1)
DEFAULTS.DIM = Key(32, WIDTH)  # width of the adapters' middle (authors' code)
DEFAULTS.SCALE = Key(0.01, above(0))  # share of the adapters in a layer's output in training (authors' code)
DEFAULTS.TEST_SCALE = Key(0.0065, above(0))  # in a test (authors' code; 0.005 across data sets)
DEFAULTS.W = Key(2.5, WEIGHT)  # weight of the agreement with another scale (authors' code; 1.0 across data sets)
DEFAULTS.DROPOUT = Key(0.1, from_below(0, 1))  # of the adapters' middle (authors' code; 0.2 with templates)
# File of sentences about the classes, {class name: [sentence, ...]} in JSON or assigned to a name in Python, as the
# authors' own are; empty: CLIP's 80 templates
DEFAULTS.SENTENCES = Key("", CLASS_FILE)
add_defaults("MMAPP", DEFAULTS)


class PromptLearner(SharedAdapters):
    def __init__(self, cfg, classnames, clip_model, text_encoder, image_encoder):
        options, encoders = cfg.TRAINER.MMAPP, {"text": text_encoder, "image": image_encoder}
        super().__init__("TRAINER.MMAPP.LAYER", options.LAYER, options.DIM, encoders)
        self.dropout = options.DROPOUT

    def middle(self, z):
        return F.dropout(z, self.dropout, self.training) if self.dropout > 0 else z

    def apart(self, i, tokens):
        """Hook for the text encoder: dropout makes the start of the text another one for each class."""
        drops = self.training and self.dropout > 0
        return tokens.apart() if i == self.first and drops else tokens

    def encode_image(self, encoder, image, scale):
        return normalise(encoder(image, beside=self.beside("image", scale)))

    def encode_text(self, encoder, tokens, scale):
        return normalise(encoder(tokens, self.apart, self.beside("text", scale)))


def texts_of(cfg, classnames):
    """Token ids of each class's texts."""
    path = cfg.TRAINER.MMAPP.SENTENCES
    if path:
        sentences = read_sentences(path, classnames, "TRAINER.MMAPP.SENTENCES", cut=True)
        print(f"Texts of the classes: {sum(map(len, sentences)):,} sentences, {path}")
        return [tokenize_cut(texts) for texts in sentences]
    templates = [template_for(cfg, {}) if template == PHOTO else template for template in IMAGENET_TEMPLATES]
    print(f"Texts of the classes: {len(templates)} templates")
    return torch.stack([tokenize_classes(classnames, template) for template in templates], dim=1).unbind()


class CustomCLIP(PromptedCLIP):
    def __init__(self, cfg, classnames, clip_model):
        super().__init__(cfg, classnames, clip_model)
        self.require_vit("MMA++", cfg)
        options = cfg.TRAINER.MMAPP
        self.scale, self.test_scale, self.w = options.SCALE, options.TEST_SCALE, options.W
        self.prompt_learner = PromptLearner(cfg, classnames, clip_model, self.text_encoder, self.image_encoder)
        self.texts = ClassTexts(clip_model, texts_of(cfg, self.classnames))

    def encode_image(self, image):
        return self.prompt_learner.encode_image(self.image_encoder, image, self.test_scale)

    def encode_text(self):
        learner, encoder = self.prompt_learner, self.text_encoder
        features = torch.cat([learner.encode_text(encoder, part, self.test_scale) for part in self.texts.all()])
        return normalise(torch.stack([each.mean(dim=0) for each in self.texts.of_classes(features)]))

    def training_pass(self, image, label):
        learner, tokens = self.prompt_learner, self.texts.draw()

        def both(scale):
            text = learner.encode_text(self.text_encoder, tokens, scale)
            return learner.encode_image(self.image_encoder, image, scale), text

        f, g = both(self.scale)
        with torch.no_grad():
            other_f, other_g = both(self.scale * uniform((), label.device))
        logits = self.logits(f, g)
        losses = OrderedDict(
            ce=F.cross_entropy(logits, label),
            reg_text=-self.w * (g * other_g).sum(dim=-1).mean(),
            reg_image=-self.w * (f * other_f).sum(dim=-1).mean(),
        )
        return f, g, logits, losses


@TRAINER_REGISTRY.register()
class MMApp(PromptTrainer):
    """MMA++: Effective Multi-Modal Adaptation for Vision-Language Models."""

    config_node = "MMAPP"
    custom_clip = CustomCLIP
