"""A method with random weights at its published settings, as it is measured."""

from typing import NamedTuple

import torch

from dassl.engine import TRAINER_REGISTRY
from harness.catalogue import DATASETS, Method
from trainers.prompting.image_batch import ImageBatch

from . import budget, vit
from .config import REPOSITORY, config_of


class Geometry(NamedTuple):
    clip: tuple  # as clip.model.CLIP takes it
    teacher: tuple  # PromptKD's, the same
    few: int  # classes of which a step is timed
    many: int


TINY = (64, 32, 12, 64, 16, 77, 49408, 64, 1, 12)  # as deep as ViT-B/16, which published settings need
GEOMETRIES = {
    "true": Geometry(vit.GEOMETRY, (768, 224, 24, 1024, 14, 77, 49408, 768, 12, 12), 100, 1000),  # ViT-B/16, ViT-L/14
    "tiny": Geometry(TINY, TINY, 10, 20),
}


class Subject(NamedTuple):
    """A method, as it is measured."""

    method: Method
    geometry: Geometry
    device: str

    @property
    def trainer(self):
        return TRAINER_REGISTRY.get(self.method.trainer)

    @property
    def steps(self):
        """Whether it is trained in steps."""
        return self.method.learns and not self.trainer.fit

    def settings(self, n_cls):
        """Flags and pairs: those of the published training with about so many classes."""
        protocol, dataset = "base2new" if self.method.has("base2new") else "few_shot", DATASETS[0 if n_cls > 500 else 1]
        stem = self.method.config(protocol, dataset, budget.SHOTS)
        config = str(REPOSITORY / self.method.config_folder / f"{stem}.yaml")
        return ["--config-file", config, "DATASET.NUM_SHOTS", str(budget.SHOTS)]

    def config(self, n_cls):
        return config_of(["--trainer", self.method.trainer, *self.settings(n_cls)])

    def model(self, n_cls, prec, device, *pairs):
        """(CustomCLIP, Precision)"""
        of_teacher = self.geometry.teacher
        settings = [*self.settings(n_cls), *pairs]
        if self.method.teacher_key:
            settings += [f"TRAINER.{self.trainer.config_node}.TEACHER_DIM", str(of_teacher[0])]
        model, precision = vit.model_of(self.method.trainer, n_cls, prec, device, settings, self.geometry.clip)
        if self.method.teacher_key:
            model.learn_from(Teacher(n_cls, prec, device, of_teacher))
            model.to(device)
        return model, precision

    def batch(self, n_img, n_cls, device):
        """Pictures and labels."""
        return vit.batch_of(n_img, n_cls, device, self.geometry.clip)

    def training_batch(self, n_img, n_cls, device):
        """What a training gives a step: pictures, or a list of them where a method takes several views; and labels."""
        images, labels = self.batch(n_img, n_cls, device)
        views = self.config(n_cls).DATALOADER.K_TRANSFORMS
        return [images] * views if views > 1 else ImageBatch(images, None, labels.cpu()), labels


class Teacher:
    """In the place of a trained run that PromptKD learns from: zero-shot CLIP with random weights."""

    def __init__(self, n_cls, prec, device, geometry):
        self.model, self.precision = vit.model_of("ZeroshotCLIP", n_cls, prec, device, geometry=geometry)
        self.model.eval()
        self.text_features = self.model.encode_text()

    @torch.no_grad()
    def logits(self, pixels):
        with self.precision.autocast():
            return self.model(pixels, text_features=self.text_features)
