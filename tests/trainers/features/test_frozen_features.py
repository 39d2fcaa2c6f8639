"""Evaluation with stored features: what is read, what is stale, and what a run's numbers never depend on."""

import os
import random
import time
from functools import partial

import numpy as np
import pytest
import torch

import dassl.data.data_manager as data_manager
from trainers.features import frozen_features, stored_pictures
from trainers.features.frozen_features import store_folder


@pytest.fixture
def evaluate(tested):
    """evaluate(trainer name, KEY, value, ...) -> (pictures whose features were stored, logits) of a test."""
    return partial(tested, "features_from_store")


@pytest.fixture
def own_pictures(tmp_path):
    """KEY, value of a data set that the test may change, and the path of its first test picture."""
    return ("DATASET.ROOT", str(tmp_path / "own")), tmp_path / "own" / "tiny" / "test" / "0_0.png"


def test_a_warm_store_decodes_no_picture(evaluate, read):
    found, logits = evaluate("CoOp")
    assert found == 0 and len(read) == 18
    for name in ("CoOp", "ZeroshotCLIP", "KgCoOp"):  # other methods, too
        read.clear()
        found, again = evaluate(name)
        assert found == 18 and not read
        assert name != "CoOp" or np.array_equal(again, logits)


def test_a_method_with_prompts_in_the_image_encoder_saves_its_frozen_branch(evaluate, read, monkeypatch):
    evaluate("ZeroshotCLIP")
    read.clear()
    plain = []
    original = frozen_features.FrozenFeatures.encode
    monkeypatch.setattr(frozen_features.FrozenFeatures, "encode", lambda *args: plain.append(args) or original(*args))
    found, _ = evaluate("SEP")
    assert found == 18 and len(read) == 18 and not plain
    found, _ = evaluate("MaPLe", "TRAINER.MAPLE.PROMPT_DEPTH", 2)
    assert found == 0 and not plain, "a method without a frozen branch encodes none"


WEIGHTS = "visual.transformer.resblocks.1.mlp.c_fc.bias"


def other_weights(trainer):
    dict(trainer.model.image_encoder.named_parameters())[WEIGHTS].data[3] += 1e-3


def other_heads(trainer):
    for block in trainer.model.image_encoder.visual.transformer.resblocks:
        block.attn.num_heads = 2


@pytest.mark.parametrize(
    "options, change",
    [
        (("INPUT.INTERPOLATION", "nearest"), None),
        (("INPUT.PIXEL_MEAN", [0.485, 0.456, 0.407]), None),
        (("INPUT.TRANSFORMS", []), None),
        (("TRAINER.COOP.PREC", "bf16"), None),
        (("TRAINER.COOP.PREC", "amp"), None),
        (("DATALOADER.TEST.BATCH_SIZE", 8), None),  # the last bits may differ
        (("DATASET.SUBSAMPLE_CLASSES", "base"), None),  # other batches
        ((), other_weights),
        (("MODEL.BACKBONE.ACTIVATION", "gelu"), None),  # of the same weights
        ((), other_heads),
    ],
)
def test_what_features_depend_on(evaluate, options, change):
    evaluate("CoOp")
    changed = {} if change is None else {"change": change}
    found, _ = evaluate("CoOp", *options, **changed)
    assert found == 0
    found, _ = evaluate("CoOp", *options, **changed)
    assert found in (9, 18)
    assert evaluate("CoOp")[0] == 18


def test_a_number_of_threads_of_its_own(evaluate, monkeypatch):
    evaluate("CoOp")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    assert evaluate("CoOp")[0] == 0


def test_another_version_of_a_package(evaluate, monkeypatch):
    evaluate("CoOp")
    monkeypatch.setattr(frozen_features.PIL, "__version__", "0.0")
    assert evaluate("CoOp")[0] == 0


def test_a_picture_that_changes(evaluate, own_pictures, read):
    root, path = own_pictures
    blocks = "DATALOADER.TEST.BATCH_SIZE", 6
    _, before = evaluate("CoOp", *root, *blocks)
    path.write_bytes(path.read_bytes())
    assert evaluate("CoOp", *root, *blocks)[0] == 18  # it is what it was
    path.write_bytes(path.with_name("5_0.png").read_bytes() + b"0" * 7)
    found, after = evaluate("CoOp", *root, *blocks)
    assert found == 0 and not np.array_equal(after[0], before[0]) and np.array_equal(after[1:], before[1:])


def test_only_blocks_with_a_changed_picture_are_read_again(evaluate, own_pictures, read, monkeypatch):
    monkeypatch.setattr(frozen_features, "BLOCK", 6)
    root, path = own_pictures
    options = (*root, "DATALOADER.TEST.BATCH_SIZE", 6)
    _, before = evaluate("CoOp", *options)
    read.clear()
    path.write_bytes(path.read_bytes() + b"0")  # of the same pixels
    found, after = evaluate("CoOp", *options)
    assert found == 12 and len(read) == 6 and str(path) in read
    assert np.array_equal(before, after)


def test_a_picture_that_changes_while_it_is_encoded(evaluate, own_pictures):
    root, path = own_pictures

    def touch_during_encoding(trainer):
        original = trainer.frozen.encode
        trainer.frozen.encode = lambda image: (os.utime(path, ns=(0, time.time_ns())), original(image))[1]

    evaluate("CoOp", *root, change=touch_during_encoding)
    assert evaluate("CoOp", *root)[0] == 0
    assert evaluate("CoOp", *root)[0] == 18


def test_a_damaged_block_is_encoded_anew(evaluate, tmp_path, capsys):
    _, before = evaluate("CoOp")
    (path,) = (tmp_path / "feature_store").glob("*/*.features")
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)
    found, after = evaluate("CoOp")
    assert found == 0 and np.array_equal(before, after) and "is damaged" in capsys.readouterr().out
    assert evaluate("CoOp")[0] == 18


def test_nothing_is_kept_of_batches_that_are_drawn(evaluate, tmp_path):
    evaluate("CoOp", "DATALOADER.TEST.SAMPLER", "RandomSampler")
    assert not [*(tmp_path / "feature_store").glob("*/*.features")]


def test_nothing_is_kept_of_a_transform_that_does_not_say_what_it_does(evaluate, tmp_path):
    def wrap(trainer):
        images = trainer.test_loader.dataset
        images.transform = lambda image, original=images.transform: original(image)

    evaluate("CoOp", change=wrap)
    assert not [*(tmp_path / "feature_store").glob("*/*.features")]


@pytest.mark.parametrize("name", ["instance_norm", "cutout"])
def test_own_transforms_say_what_they_do(make_cfg, name):
    transform = data_manager.build_transform(make_cfg("CoOp"), choices=[name])
    assert " at 0x" not in repr(transform)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("pictures", [(), ("MaPLe", "TRAINER.MAPLE.PROMPT_DEPTH", 2)], ids=["features", "pictures"])
def test_random_generators_move_on_alike(make_trainer, monkeypatch, workers, pictures):
    """Validation is within a training, which must not depend on what is stored, features or decoded pictures."""
    monkeypatch.setattr(stored_pictures, "pays", lambda device: bool(pictures))
    ends = []
    for size in (0.0, 1.0, 1.0):
        trainer = make_trainer(*(pictures or ["CoOp"]), "STORE.MAX_GB", size, "DATALOADER.NUM_WORKERS", workers)
        trainer.test("val")
        ends.append((torch.rand(1).item(), random.random(), np.random.rand()))
    assert ends[0] == ends[1] == ends[2]


def test_images_that_were_not_read_are_never_encoded(make_trainer):
    model = make_trainer("CoOp").model
    with pytest.raises(RuntimeError, match="reads_pixels"):
        model(torch.empty(2, 0, 0, 0))


def test_where_it_lies(make_cfg, tmp_path, monkeypatch):
    monkeypatch.delenv("STORE", raising=False)
    cfg = make_cfg("CoOp", "STORE.DIR", "", "DATASET.ROOT", str(tmp_path), output=tmp_path / "run")
    assert store_folder(cfg) == str(tmp_path / "feature_store")
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert store_folder(cfg) == str(tmp_path / "run" / "feature_store")
    assert store_folder(cfg, run="moved") == os.path.join("moved", "feature_store")
    monkeypatch.setenv("STORE", "~/features")
    assert store_folder(cfg) == os.path.expanduser("~/features")
    cfg.STORE.DIR = str(tmp_path / "given")
    assert store_folder(cfg) == str(tmp_path / "given")
