"""A data set of 24 tiny pictures in 4 classes and 3 domains, and a trainer of one linear layer."""

import sys

import numpy as np
import pytest
from PIL import Image
from torch import nn
from torch.nn import functional as F

from dassl.config import get_cfg_default
from dassl.data.datasets import DATASET_REGISTRY, DatasetBase, Datum
from dassl.engine import TRAINER_REGISTRY, TrainerX
from dassl.metrics import compute_accuracy
from dassl.optim import build_lr_scheduler, build_optimizer


@DATASET_REGISTRY.register()
class Toy(DatasetBase):
    def __init__(self, cfg):
        items = [Datum(f"{cfg.DATASET.ROOT}/{i}.png", i % 4, i % 3, f"class {i % 4}") for i in range(24)]
        super().__init__(train_x=items[:16], val=items[16:20], test=items[16:])


@TRAINER_REGISTRY.register()
class ToyTrainer(TrainerX):
    def build_model(self):
        self.model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, self.num_classes))
        self.optim = build_optimizer(self.model, self.cfg.OPTIM)
        self.sched = build_lr_scheduler(self.optim, self.cfg.OPTIM)
        self.register_model("toy", self.model, self.optim, self.sched)

    def forward_backward(self, batch):
        image, label, _ = self.parse_batch_train(batch)
        output = self.model(image)
        loss = F.cross_entropy(output, label)
        self.model_backward_and_update(loss)
        if self.batch_idx + 1 == self.num_batches:
            self.update_lr()
        return {"loss": loss.item(), "acc": compute_accuracy(output, label)[0].item()}


@pytest.fixture(scope="session")
def toy_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("toy")
    for i in range(24):
        pixels = np.random.RandomState(i).randint(0, 256, (12, 10, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{i}.png")
    return root


@pytest.fixture
def cfg(toy_root, tmp_path):
    """A config that trains ToyTrainer on Toy for three epochs of four batches, into a folder of its own."""
    cfg = get_cfg_default()
    cfg.DATASET.ROOT = str(toy_root)
    cfg.DATASET.NAME = "Toy"
    cfg.TRAINER.NAME = "ToyTrainer"
    cfg.OUTPUT_DIR = str(tmp_path / "run")
    cfg.USE_CUDA = False
    cfg.INPUT.SIZE = (8, 8)
    cfg.INPUT.TRANSFORMS = ("random_resized_crop", "random_flip", "normalize")
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.DATALOADER.TRAIN_X.BATCH_SIZE = 4
    cfg.OPTIM.NAME = "sgd"
    cfg.OPTIM.LR = 0.05
    cfg.OPTIM.MAX_EPOCH = 3
    cfg.OPTIM.LR_SCHEDULER = "cosine"
    cfg.OPTIM.WARMUP_EPOCH = 1
    cfg.OPTIM.WARMUP_TYPE = "constant"
    return cfg


@pytest.fixture
def restore_stdout():
    """Undo what setup_logger does to sys.stdout."""
    stdout = sys.stdout
    yield
    sys.stdout = stdout
