"""Fixtures that build methods on toy data: a CustomCLIP, a finished run."""

import copy
import shutil

import pytest
import torch

from tests.golden.formula import clip_state_dict
from tests.tiny import CLASSNAMES, GEOMETRY
from tests.trainers.methods import METHODS
from trainers.backbone.clip_loader import build_clip
from trainers.run import checkpoint

OPTIONS = ("TRAINER.COOP.N_CTX", 4)  # of the run `trained`


@pytest.fixture(scope="session")
def golden_clip():
    """The CLIP of the golden numbers (tests/golden/README.md); nobody may change it."""
    return build_clip(clip_state_dict())


@pytest.fixture
def build(tiny_clip, make_cfg):
    """build(row of methods.py or its name, KEY, value, ..., classnames=, clip_model=) -> its CustomCLIP, tiny ViT."""

    def make(method, *options, classnames=CLASSNAMES, clip_model=None):
        method = METHODS[method] if isinstance(method, str) else method
        cfg = make_cfg(method.trainer, *method.options, *options)
        clip_model = clip_model or tiny_clip()
        torch.manual_seed(0)
        model = method.custom_clip(cfg, classnames, clip_model)
        model.before_training()
        return model

    return make


@pytest.fixture(scope="session")
def deeper_clip():
    """As `tiny_clip`, with as many layers of text as of images: three."""
    model = build_clip(clip_state_dict(g={**GEOMETRY, "transformer_layers": 3}))
    return lambda: copy.deepcopy(model)


@pytest.fixture
def trained(make_trainer, finished_run, tmp_path):
    """Folder of a finished run of 3 epochs."""
    made = finished_run(make_trainer, "CoOp", *OPTIONS, "TRAIN.CHECKPOINT_FREQ", 2)
    return str(shutil.copytree(made, tmp_path / "output"))


@pytest.fixture
def rewrite(trained):
    """rewrite(change) applies a function to the dict in the last checkpoint."""

    def rewrite(change):
        path = checkpoint.path_of(trained + "/prompt_learner", 3)
        state = checkpoint.read(path)
        change(state)
        checkpoint.write(state, path)

    return rewrite
