import pytest
import torch

from tests.tiny import CLASSNAMES
from tests.trainers.methods import METHODS


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
