"""A stranger's method folder: a trainer that was written for Dassl, in a fork of years ago, and nothing of ours."""

import shutil
from pathlib import Path

import clip
import pytest

import own_methods
from foreign import guest
from harness import catalogue
from harness.catalogue import with_folders

METHOD = """\
name: stranger
trainer: Stranger
class: CoOp
paper: "2019"
packages: [clip]
configs:
  - {file: old}
defaults: # what extend_cfg sets
  TRAINER:
    COOP: {W: 1.0, CTX_INIT: false}
  LOSS: {KIND: ce, STEPS: [1, 2]}
"""
CONFIG = """\
DATALOADER: {NUM_WORKERS: 0, TRAIN_X: {BATCH_SIZE: 8}}
INPUT: {SIZE: "(32, 32)", TRANSFORMS: ["normalize"]}
OPTIM: {NAME: sgd, LR: 0.1, MAX_EPOCH: 2, WARMUP_CONS_LR: 1e-5}
TRAINER: {COOP: {CTX_INIT: True}}
"""
CODE = """\
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import CosineAnnealingLR

from clip import clip
from clip.model import MARK
from dassl.engine import TRAINER_REGISTRY, TrainerX
from dassl.optim import build_optimizer


class Model(nn.Module):
    def __init__(self, cfg, classnames, clip_model):
        super().__init__()
        self.image_encoder = clip_model.visual
        prompts = torch.cat([clip.tokenize(f"a photo of a {name}.") for name in classnames]).cuda()
        with torch.no_grad():
            self.text = F.normalize(clip_model.encode_text(prompts), dim=-1)
        self.shift = nn.Parameter(torch.zeros(self.text.shape[1], dtype=np.float == float and torch.float32).half())

    def forward(self, image):
        image = F.normalize(self.image_encoder(image), dim=-1)
        return 10 * F.normalize(image + self.shift, dim=-1) @ self.text.t(), None


@TRAINER_REGISTRY.register()
class Other(TrainerX):
    pass


@TRAINER_REGISTRY.register()
class CoOp(TrainerX):
    def check_cfg(self, cfg):
        assert cfg.TRAINER.COOP.W > 0, "W must be positive"

    def build_model(self):
        path = clip._download(clip._MODELS[self.cfg.MODEL.BACKBONE.NAME])
        try:
            state_dict = torch.jit.load(path, map_location="cpu").state_dict()
        except RuntimeError:
            state_dict = torch.load(path, map_location="cpu")
        clip_model = clip.build_model(state_dict).float().cuda()
        assert MARK == self.cfg.TRAINER.COOP.CTX_INIT and self.cfg.LOSS.STEPS == [1, 2]
        self.model = Model(self.cfg, self.dm.dataset.classnames, clip_model).to("cuda:0")
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(name == "shift")
        self.optim = build_optimizer(self.model, self.cfg.OPTIM)
        self.sched = CosineAnnealingLR(self.optim, self.cfg.OPTIM.MAX_EPOCH, 0, -1, False)
        self.register_model("ShiftLearner", self.model, self.optim, self.sched)

    def forward_backward(self, batch):
        image, label, _ = self.parse_batch_train(batch)
        loss = self.cfg.TRAINER.COOP.W * F.cross_entropy(self.model(image)[0], label)
        self.model_backward_and_update(loss)
        if self.batch_idx + 1 == self.num_batches:
            self.update_lr()
        return {"loss": loss.item()}

    def model_inference(self, image):
        return self.model(image)[0]
"""


def write_stranger(folder: Path) -> Path:
    """folder/stranger, with a copy of the installed clip/ that says that it is the stranger's."""
    folder = folder / "stranger"
    shutil.copytree(Path(clip.__file__).parent, folder / "clip", ignore=shutil.ignore_patterns("__pycache__"))
    with open(folder / "clip/model.py", "a", encoding="utf-8") as file:
        file.write("\nMARK = True\n")
    (folder / "configs").mkdir()
    for path, text in (("method.yaml", METHOD), ("configs/old.yaml", CONFIG), ("configs/shapes.yaml", CONFIG)):
        (folder / path).write_text(text)
    (folder / "coop.py").write_text(CODE)
    return folder


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    """Its folder, which METHOD_PATH names; what has come in is taken back."""
    folder = write_stranger(tmp_path)
    methods = with_folders(str(folder))
    for holder in (catalogue, own_methods):
        monkeypatch.setattr(holder, "METHODS", methods)
    yield folder
    guest.take_leave()
