"""PromptKD: unsupervised prompt distillation (arXiv 2403.02781).

A teacher, prompts that were trained on a larger CLIP with labels of the base classes, is what a student learns from, on
pictures without labels: all training images of all classes of the data set, those of the new ones included. So its
results are transductive. Three parts (section 3):

- Class vectors: the teacher's text features g (C, D) of all classes, computed once. The student has no text side of its
  own: it is compared with g, in training and for good.
- The student: visual prompts in the first layers of CLIP's image encoder, and a projector from its features to the
  teacher's dimension, f = norm(W2 relu(BN(W1 h + b1)) + b2).
- Distillation: with the teacher's logits t = tau_t f_t g^T of the same view, and the student's s = tau f g^T,
      loss = KD_WEIGHT T^2 KL(softmax(t / T) || softmax(s / T)), summed over a batch, over the number of its logits.

The paper sums over the classes; the division by B C and the weight of 1000 are of the authors' code.
"""

import os
from collections import OrderedDict
from typing import List

import torch
from torch import nn
from torch.nn import functional as F

from dassl.data import DataManager
from dassl.engine import TRAINER_REGISTRY

from .base import PromptTrainer
from .compat import autocast
from .errors import UserError
from .keys import RUN_FOLDER, TOKENS, WEIGHT, WIDTH, Key, above, add_defaults, at_least, method_defaults
from .precision import first_not_finite
from .prompting.deep_prompts import check_depth, random_prompts, replace_image
from .prompting.image_batch import pixels_of
from .prompting.model import PromptedCLIP, normalise
from .random_state import random_state, set_random_state
from .run import checkpoint
from .run.folder import RunFolder

DEFAULTS = method_defaults()
# folder of the run to learn from; for scripts also a trainer, whose run they make
DEFAULTS.TEACHER = Key("", RUN_FOLDER)
DEFAULTS.TEACHER_DIM = Key(768, WIDTH)  # numbers in the teacher's features (ViT-L/14's)
DEFAULTS.N_CTX_VISION = Key(4, TOKENS)  # prompt tokens in the image encoder (authors' code)
DEFAULTS.PROMPT_DEPTH_VISION = Key(9, at_least(1))  # layers with prompts of their own (authors' code)
DEFAULTS.TEMPERATURE = Key(1.0, above(0))  # T of both distributions (paper)
DEFAULTS.KD_WEIGHT = Key(1000.0, WEIGHT)  # weight of the loss (authors' code: 200 on three data sets)
add_defaults("PROMPTKD", DEFAULTS)


# ---- what it learns from -----------------------------------------------------------------------------------------


class Teacher:
    """A trained run, frozen: `text_features` (C, D) of the classes `classnames`, and what it says of pictures."""

    def __init__(self, cfg, classnames, device):
        folder = cfg.TRAINER.PROMPTKD.TEACHER
        if not folder:
            raise UserError("PromptKD learns from a trained run: give its folder as TRAINER.PROMPTKD.TEACHER.")
        run, state = RunFolder(folder), random_state()
        self._refuse_other_pictures(cfg, run)
        self.model, self.precision = run.model(classnames, device)
        set_random_state(state)  # what building has drawn
        if any(True for _ in self.model.prompt_learner.parameters()):
            self._refuse_labels_of_new_classes(cfg, run)
        if self.model.text_depends_on_image or not self.model.predicts_by_text:
            raise UserError(
                f'"{folder}" is a run of {run.cfg.TRAINER.NAME}, which predicts by more than text features that all '
                f"images share: choose another TRAINER.PROMPTKD.TEACHER."
            )
        with torch.no_grad(), self.precision.autocast():
            self.text_features = self.model.encode_text()
        found, wanted = self.text_features.shape[1], cfg.TRAINER.PROMPTKD.TEACHER_DIM
        if found != wanted:
            raise UserError(
                f'The teacher "{folder}" has features of {found} numbers: set TRAINER.PROMPTKD.TEACHER_DIM to {found} '
                f"(it is {wanted})."
            )

    @staticmethod
    def _refuse_other_pictures(cfg, run):
        for key in ("SIZE", "PIXEL_MEAN", "PIXEL_STD", "TRANSFORMS"):
            theirs, ours = (list(each.INPUT[key]) for each in (run.cfg, cfg))
            if key == "TRANSFORMS":  # all others vary the training images, which are the student's
                theirs, ours = ([name for name in names if name == "normalize"] for names in (theirs, ours))
            if theirs != ours:
                raise UserError(
                    f'The teacher "{run.folder}" takes pictures with INPUT.{key} {theirs}, but the student {ours}: '
                    f"both see the same ones, so set it to the teacher's, or choose another teacher."
                )

    @staticmethod
    def _refuse_labels_of_new_classes(cfg, run):
        theirs, ours = run.cfg.DATASET, cfg.DATASET
        if theirs.NAME == ours.NAME and ours.SUBSAMPLE_CLASSES == "base" != theirs.SUBSAMPLE_CLASSES:
            raise UserError(
                f'The teacher "{run.folder}" was trained with labels of {theirs.SUBSAMPLE_CLASSES} classes of '
                f"{ours.NAME}, and new ones are to be without: train it on the base classes."
            )

    def logits(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> (B, C), float32, in the teacher's own precision."""
        with torch.no_grad(), autocast(pixels.device.type, enabled=False), self.precision.autocast():
            return self.model(pixels, text_features=self.text_features)


class ClassVectors(nn.Module):
    """The teacher's text features, in a buffer: part of a checkpoint, not optimised."""

    def __init__(self, n_cls, dim):
        super().__init__()
        self.register_buffer("vectors", torch.zeros(n_cls, dim))


# ---- the student -------------------------------------------------------------------------------------------------


class PromptLearner(nn.Module):
    """Visual prompts Q_0 .. Q_(K-1), each (n_ctx, width), and the projector, from `dim` to `teacher_dim` numbers."""

    def __init__(self, cfg, dim, image_encoder):
        super().__init__()
        options = cfg.TRAINER.PROMPTKD
        depth, out = options.PROMPT_DEPTH_VISION, options.TEACHER_DIM
        check_depth("TRAINER.PROMPTKD.PROMPT_DEPTH_VISION", depth, image_encoder.n_layers)
        self.ctx_visual = random_prompts(depth, options.N_CTX_VISION, image_encoder.width)
        self.projector = nn.Sequential(nn.Linear(dim, out), nn.BatchNorm1d(out), nn.ReLU(), nn.Linear(out, out))


class CustomCLIP(PromptedCLIP):
    def __init__(self, cfg, classnames, clip_model):
        super().__init__(cfg, classnames, clip_model)
        self.require_vit("PromptKD", cfg)
        self.cfg, self.options = cfg, cfg.TRAINER.PROMPTKD
        self.prompt_learner = PromptLearner(cfg, clip_model.text_projection.shape[1], self.image_encoder)
        self.all_classnames = self.classnames  # of the data set; the trainer says so if these are but half of them
        self.training_only["classes"] = ClassVectors(len(self.classnames), self.options.TEACHER_DIM)
        self._teacher = None
        self._rows = None  # of the class vectors, those of `classnames`

    # ---- the teacher and its class vectors ---------------------------------------------------------------------

    @property
    def training_classnames(self):
        return self.all_classnames

    def before_training(self):
        if self._teacher is None:
            self.learn_from(Teacher(self.cfg, self.all_classnames, self.logit_scale.device))

    def learn_from(self, teacher):
        """Take a teacher: `text_features` (C, D) of all classes of the data set, and `logits`, as a `Teacher` has."""
        self._teacher = teacher
        self._take(teacher.text_features, self.all_classnames)

    @property
    def teacher(self) -> Teacher:
        self.before_training()
        return self._teacher

    def _take(self, vectors, names: List[str]):
        """Compare with class vectors (n, D) of the classes `names`."""
        first = {name: row for row, name in reversed(list(enumerate(names)))}  # of equal names
        self._rows = [first[name] for name in self.classnames]
        self.all_classnames = names
        classes = ClassVectors(*vectors.shape).to(self.logit_scale.device)
        classes.vectors.copy_(vectors)
        self.training_only["classes"] = classes

    def load_training_only(self, modules, classnames, path):
        """Take the class vectors, of which those of the model's own classes are found by their names."""
        missing = [name for name in self.classnames if name not in classnames]
        if missing:
            raise UserError(
                f'Checkpoint "{path}" has class vectors of the {len(classnames)} classes that it was distilled on, and '
                f'"{missing[0]}" is none of them: test it on classes of its own data set.'
            )
        weights = {name[len("classes.") :]: value for name, value in modules.items() if name.startswith("classes.")}
        checkpoint.check_weights(
            ClassVectors(len(classnames), self.options.TEACHER_DIM).state_dict(), weights, f"{path}"
        )
        if first_not_finite(weights.items()):
            raise checkpoint.wrong(path, "training", "holds infinite or NaN class vectors")
        self._take(weights["vectors"], classnames)

    def refuse_another_teacher(self, path):
        """Raise UserError if class vectors that were resumed with are not the teacher's."""
        theirs, ours = self.training_only["classes"].vectors, self.teacher.text_features
        if (theirs - ours).abs().max() > 1e-2:  # more than rounding does
            raise UserError(
                f'The run in "{path}" has learned from a teacher with other text features than '
                f'"{self.options.TEACHER}": give the one that it began with, or delete that folder to start over.'
            )

    # ---- images and classes ------------------------------------------------------------------------------------

    def encode_image(self, image):
        first, *deep = self.prompt_learner.ctx_visual
        h = self.image_encoder(image, first, replace_image(deep)).float()  # (B, dim)
        with autocast(h.device.type, enabled=False):
            return normalise(self.prompt_learner.projector(h))  # (B, D)

    def encode_text(self):
        if self._rows is None:
            self.before_training()
        return self.training_only["classes"].vectors[self._rows]  # (n_cls, D)

    def training_pass(self, image, label):
        """label: the teacher's logits (B, C), which are asked for if it has numbers of classes: those are not read.

        The student's logits are of all classes as well.
        """
        t = label if label.dim() == 2 else self.teacher.logits(pixels_of(image))
        temperature, g = self.options.TEMPERATURE, self.training_only["classes"].vectors
        f = self.encode_image(image)
        s = self.logits(f, g)
        log_p, p = (s / temperature).log_softmax(dim=-1), (t / temperature).softmax(dim=-1)
        kl = F.kl_div(log_p, p, reduction="sum")  # KL(p || softmax(s / T))
        return f, g, s, OrderedDict(kd=self.options.KD_WEIGHT * temperature**2 * kl / s.numel())


@TRAINER_REGISTRY.register()
class PromptKD(PromptTrainer):
    """PromptKD: Unsupervised Prompt Distillation for Vision-Language Models."""

    config_node = "PROMPTKD"
    smallest_batch = 2  # its projector has a batch norm
    custom_clip = CustomCLIP

    def check_cfg(self, cfg):
        super().check_cfg(cfg)
        if cfg.DATALOADER.TRAIN_X.BATCH_SIZE < 2:
            raise UserError("PromptKD's projector has a batch norm: set DATALOADER.TRAIN_X.BATCH_SIZE to 2 or more.")

    def build_data_loader(self):
        """Train on all training images of all classes; test as the config says."""
        super().build_data_loader()
        cfg = self.cfg.clone()
        cfg.defrost()
        cfg.DATASET.SUBSAMPLE_CLASSES, cfg.DATASET.NUM_SHOTS = "all", -1
        print("The images to learn from, without their labels, are those of:")
        everything = DataManager(cfg)
        self.train_loader_x, self.unlabelled = everything.train_loader_x, everything.dataset

    @property
    def trains_on(self):
        return self.unlabelled

    def build_model(self):
        super().build_model()
        self.model.all_classnames = self.unlabelled.classnames

    def before_train(self):
        super().before_train()
        self.model.refuse_another_teacher(self.output_dir)

    def parse_batch_train(self, batch):
        """The images, and in the place of labels the teacher's logits."""
        image = batch["img"].to(self.device, non_blocking=True)
        return image, self.model.teacher.logits(image)

    def record(self, split=None):
        record = super().record(split)
        if self.cfg.TRAINER.PROMPTKD.TEACHER:  # a test needs none
            record.weights = {**record.weights, "teacher": os.path.abspath(self.cfg.TRAINER.PROMPTKD.TEACHER)}
        return record
