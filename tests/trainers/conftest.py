import numpy as np
import pytest
import torch

from tests.tiny import CLASSNAMES
from tests.trainers.methods import METHODS
from trainers.prompting import checkpoint

OPTIONS = ("TRAINER.COOP.N_CTX", 4)  # of the run `trained`


@pytest.fixture
def build(tiny_clip, make_cfg):
    """build(row of methods.py or its name, KEY, value, ..., classnames=, clip_model=) -> its CustomCLIP, tiny ViT."""

    def make(method, *options, classnames=CLASSNAMES, clip_model=None):
        method = METHODS[method] if isinstance(method, str) else method
        cfg = make_cfg(method.trainer, *method.options, *options)
        clip_model = clip_model or tiny_clip()
        torch.manual_seed(0)
        return method.module.CustomCLIP(cfg, classnames, clip_model)

    return make


@pytest.fixture
def trained(make_trainer, tmp_path):
    """Folder of a finished run of 3 epochs."""
    make_trainer("CoOp", *OPTIONS, "TRAIN.CHECKPOINT_FREQ", 2).train()
    return str(tmp_path / "output")


@pytest.fixture
def rewrite(trained):
    """rewrite(change) applies a function to the dict in the last checkpoint."""

    def rewrite(change):
        path = checkpoint.path_of(trained + "/prompt_learner", 3)
        state = checkpoint.read(path)
        change(state)
        checkpoint.write(state, path)

    return rewrite


@pytest.fixture
def run(make_trainer, tmp_path):
    """run(row of methods.py, KEY, value, ...) -> folder of a run of an epoch, and the predictions of its test."""

    def make(row, *options):
        trainer = make_trainer(row.trainer, *row.options, "TEST.SAVE_PREDICTIONS", True, "OPTIM.MAX_EPOCH", 1, *options)
        if trainer.optim is None:
            trainer.test()
        else:
            trainer.train()
        folder = tmp_path / "output"
        (folder / "config.yaml").write_text(trainer.cfg.dump())
        return str(folder), np.load(folder / "predictions.npz")

    return make
