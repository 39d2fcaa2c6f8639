"""Tip-Adapter's cache against its authors' code (tests/golden/README.md), and what their code leaves open."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import trainers.tipadapter
import trainers.tipadapter_f
from dassl.config import get_cfg_default
from dassl.optim import build_lr_scheduler, build_optimizer
from tests.conftest import REPOSITORY
from tests.golden.compare import golden
from tests.golden.formula import images_uint8, preprocess
from trainers.errors import UserError
from trainers.prompting.cache import GRIDS, Cache, grid_for, steps
from trainers.prompting.templates import IMAGENET_TEMPLATES, TIP_IMAGENET_TEMPLATES, tip_templates

LABELS = torch.arange(12) % 6  # of training and validation images


def by_class(keys):
    """Keys in the authors' order of images (12, dim) -> (6, 2, dim)."""
    return torch.from_numpy(keys).unflatten(0, (2, 6)).transpose(0, 1)


@pytest.fixture(scope="module")
def pictures():
    """The six images of inputs.npz, those of the cache in two views (2, 12, ...), and twelve for validation."""
    bytes_ = images_uint8(42)
    views = bytes_[6:30].reshape(2, 12, 64, 64, 3)
    validation = views[0] // 2 + bytes_[30:42] // 2
    first, *views, validation = (torch.from_numpy(preprocess(b)) for b in (bytes_[:6], *views, validation))
    return first, views, validation


def build(module, info, clip_model):
    cfg = get_cfg_default()
    cfg.merge_from_file(REPOSITORY / "configs/trainers/TipAdapterF/vit_b16_ep20_batch256.yaml")
    node = module.__name__.rpartition(".")[2].replace("_", "").upper()
    options = [f"TRAINER.{node}.PREC", "fp32", "DATASET.NAME", "Caltech101", "DATASET.NUM_SHOTS", 2]
    cfg.merge_from_list([*options, "INPUT.SIZE", (64, 64), "OPTIM.MAX_EPOCH", info["cfg"]["train_epoch"]])
    model = module.CustomCLIP(cfg, info["classnames"], clip_model)
    model.logit_scale = nn.Parameter(torch.tensor(math.log(info["logit_scale"])))  # a number in their code
    return cfg, model


def encode(model, images):
    with torch.no_grad():
        return model.image_encoder(images).float()


def test_cache_search_and_logits_are_the_authors(golden_clip, pictures):
    info, expected = golden("tipadapter")
    info["cfg"]["train_epoch"] = 1
    _, model = build(trainers.tipadapter, info, golden_clip)
    first, views, validation = pictures
    passes = ([(encode(model, v[:8]), LABELS[:8]), (encode(model, v[8:]), LABELS[8:])] for v in views)
    model.prompt_learner.fill(passes)
    cache = model.eval().prompt_learner
    torch.testing.assert_close(cache.keys.detach(), by_class(expected["keys"]), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        model.encode_text(), torch.from_numpy(expected["text_features_normalised"]), atol=1e-5, rtol=0
    )
    with torch.no_grad():
        np.testing.assert_allclose(model(validation), expected["logits_start_val"], atol=1e-4, rtol=0)
        model.search((encode(model, validation), LABELS))
        assert (cache.alpha.item(), cache.beta.item()) == pytest.approx((info["alpha"], info["beta"]))
        np.testing.assert_allclose(model(first), expected["logits_eval6"], atol=1e-4, rtol=0)


def test_training_is_the_authors(golden_clip, pictures):
    """Loss, gradient, and keys after two steps of the published optimiser."""
    info, expected = golden("tipadapter_f")
    cfg, model = build(trainers.tipadapter_f, info, golden_clip)
    first, _, validation = pictures
    cache, label = model.prompt_learner, torch.tensor(info["labels"])
    cache.keys.data.copy_(by_class(golden("tipadapter")[1]["keys"]))
    optimizer = build_optimizer(cache, cfg.OPTIM)
    schedule = build_lr_scheduler(optimizer, cfg.OPTIM)
    for epoch, (loss, rate) in enumerate(zip(info["losses"], info["learning_rates"])):
        optimizer.zero_grad()
        logits, losses = model(first, label)
        model.backward(losses)
        assert losses["ce"].item() == pytest.approx(loss, abs=1e-4)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(rate)
        if epoch == 0:
            np.testing.assert_allclose(logits.detach(), expected["logits_train"], atol=1e-4, rtol=0)
            gradient = by_class(expected["gradient"])
            assert (cache.keys.grad - gradient).norm() < 1e-3 * gradient.norm()
        optimizer.step()
        schedule.step()
        if epoch == info["searched_epoch"]:  # the best on their test images
            model.search((encode(model, validation), LABELS))
    torch.testing.assert_close(cache.keys.detach(), by_class(expected["weight_after_2"]), atol=1e-5, rtol=0)
    assert (cache.alpha.item(), cache.beta.item()) == pytest.approx((info["alpha"], info["beta"]))


def test_a_class_with_fewer_images_has_fewer_keys():
    """As in a cache of just so many; what is not there gets no gradient."""
    torch.manual_seed(0)
    features, label = torch.randn(5, 8), torch.tensor([0, 1, 1, 0, 1])
    f = nn.functional.normalize(torch.randn(4, 8), dim=-1)
    cache = Cache(2, 4, 8, 2.0, 1.5, learns=True)
    cache.fill([[(features, label)]])
    assert cache.present.tolist() == [[1, 1, 0, 0], [1, 1, 1, 0]]
    keys = nn.functional.normalize(features, dim=-1)
    expected = 2.0 * (-1.5 * (1 - f @ keys.t())).exp() @ nn.functional.one_hot(label).float()
    torch.testing.assert_close(cache(f), expected)
    cache(f).square().sum().backward()
    assert ((cache.keys.grad.abs().sum(-1) > 0) == (cache.present == 1)).all()
    with pytest.raises(UserError, match="A class has 3 training images, but DATASET.NUM_SHOTS is 2: set it to 3"):
        Cache(2, 2, 8, 1.0, 1.0, learns=True).fill([[(features, label)]])


def test_a_training_has_the_start_of_alpha_and_beta():
    """Whatever an evaluation in between has chosen."""
    cache = Cache(2, 1, 4, 2.0, 1.0, learns=True)
    f = nn.functional.normalize(torch.ones(1, 4), dim=-1)
    before = cache(f)
    cache.alpha.fill_(5.0)
    assert torch.equal(cache.train()(f), before)
    torch.testing.assert_close(cache.eval()(f), 2.5 * before)


def test_the_grid_is_the_data_sets_unless_keys_say_otherwise():
    cfg = get_cfg_default()
    for name, expected in (("EuroSAT", GRIDS["EuroSAT"]), ("Shapes", GRIDS["ImageNet"])):
        cfg.DATASET.NAME = name
        assert grid_for(cfg, cfg.TRAINER.TIPADAPTER) == expected
    cfg.TRAINER.TIPADAPTER.MAX_BETA = 4.0
    assert grid_for(cfg, cfg.TRAINER.TIPADAPTER) == (1.17, 4.0, 3)
    assert steps(5, 20)[:2] == pytest.approx([0.1, 0.345]) and len(steps(5, 20)) == 20 and max(steps(5, 20)) < 5


def test_templates():
    cfg = get_cfg_default()
    cfg.DATASET.NAME = "ImageNet"
    assert tip_templates(cfg) == TIP_IMAGENET_TEMPLATES and set(TIP_IMAGENET_TEMPLATES) < set(IMAGENET_TEMPLATES)
    cfg.DATASET.TEMPLATE = "one {}"
    assert tip_templates(cfg) == ["one {}"]
