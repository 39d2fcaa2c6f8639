"""Decoded pictures from the store: what the ordinary way makes of them, to the last bit, and what stops no run."""

import copy
import os
import pickle
from functools import partial

import numpy as np
import pytest
import torch
import torchvision.transforms as T
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dassl.config import get_cfg_default
from dassl.data.transforms import build_transform
from dassl.utils import read_image
from trainers.features import feature_store, stored_pictures, stored_views
from trainers.features.stored_pictures import halves_of, pixels_kind

MAPLE = ("MaPLe", "TRAINER.MAPLE.PROMPT_DEPTH", 2)


# ---- bits --------------------------------------------------------------------------------------------------


def transform_of(size=(32, 32), interpolation="bicubic", transforms=("normalize",)):
    cfg = get_cfg_default()
    cfg.INPUT.SIZE, cfg.INPUT.INTERPOLATION, cfg.INPUT.TRANSFORMS = size, interpolation, transforms
    return build_transform(cfg, is_train=False)


def save(image, folder, name, **options):
    path = os.path.join(folder, name)
    image.save(path, **options)
    return path


def picture(folder, mode, width, height, seed):
    """Path of a file whose pixels are random: of JPEG, of PNG with a palette and transparency, of deep grey, ..."""
    noise = np.random.RandomState(seed).randint(0, 256, (height, width, 4), np.uint8)
    if mode == "I;16":
        return save(Image.fromarray(noise[..., 0].astype(np.uint16) * 255), folder, "a.png")
    if mode == "exif":
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned by a viewer
        return save(Image.fromarray(noise[..., :3]), folder, "a.jpg", exif=exif)
    image = Image.fromarray(noise).convert("RGB" if mode in ("P", "CMYK") else mode).convert(mode)
    ending, options = (
        ("a.jpg", {}) if mode in ("RGB", "CMYK") else ("a.png", {"transparency": 3} if mode == "P" else {})
    )
    return save(image, folder, ending, **options)


MODES = ["RGB", "L", "LA", "RGBA", "P", "1", "CMYK", "I;16", "exif"]


@given(
    *[st.sampled_from(MODES), st.integers(1, 90), st.integers(1, 90), st.integers(0, 99)],
    *[st.tuples(*2 * [st.integers(1, 40)]), st.sampled_from(["bilinear", "bicubic", "nearest"]), st.booleans()],
)
def test_pixels_become_the_images_of_the_transform(tmp_path_factory, mode, w, h, seed, size, interpolation, normalised):
    path = picture(tmp_path_factory.mktemp("picture"), mode, w, h, seed)
    transform = transform_of(size, interpolation, ["normalize"] * normalised)
    halves = halves_of(transform)
    pixels = torch.stack([halves.to_pixels(read_image(path))] * 2)
    assert pixels.dtype == torch.uint8 and pixels.shape == (2, *size, 3)
    expected = torch.stack([transform(read_image(path))] * 2)
    for images in (halves.images(pixels, torch.device("cpu")), halves.looked_up(pixels)):
        assert torch.equal(images, expected) and images.dtype == expected.dtype and images.is_contiguous()


def test_all_values_of_all_channels():
    values = np.stack([np.arange(256)] * 3, axis=1).reshape(16, 16, 3).astype(np.uint8)
    transform = T.Compose([T.ToTensor(), T.Normalize((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26, 0.27))])
    images = halves_of(transform).images(torch.from_numpy(values)[None], torch.device("cpu"))
    assert torch.equal(images[0], transform(Image.fromarray(values)))


def test_transforms_that_are_left_alone():
    steps = transform_of().transforms
    for transform in (
        *[None, [], steps[0], T.Compose(steps[:2]), [transform_of(), transform_of()]],
        transform_of(transforms=["instance_norm"]),  # of the whole picture
        T.Compose([*steps, T.RandomErasing()]),
        T.Compose([T.PILToTensor(), T.ConvertImageDtype(torch.float32), steps[-1]]),
    ):
        assert halves_of(transform) is None


def test_what_pixels_depend_on(monkeypatch):
    kinds = [transform_of(), transform_of((31, 32)), transform_of((32, 31)), transform_of(interpolation="nearest")]
    kinds = [pixels_kind(halves_of(transform)) for transform in kinds]
    kinds += [pixels_kind(halves_of(transform_of()), {"view": i}) for i in (0, 1)]
    monkeypatch.setattr(stored_pictures.PIL, "__version__", "0")
    kinds.append(pixels_kind(halves_of(transform_of())))
    monkeypatch.setattr(stored_pictures.dassl, "__version__", "0.6.3", raising=False)
    kinds.append(pixels_kind(halves_of(transform_of())))
    assert len(set(kinds)) == len(kinds)
    assert pixels_kind(halves_of(transform_of())) == pixels_kind(halves_of(transform_of(transforms=[])))


# ---- tests of a run ----------------------------------------------------------------------------------------


@pytest.fixture
def kept(monkeypatch):
    """As on a GPU, in blocks of four pictures."""
    monkeypatch.setattr(stored_pictures, "pays", lambda device: True)
    monkeypatch.setattr(stored_pictures, "PICTURES", 4)


@pytest.fixture
def evaluate(tested):
    """evaluate(trainer name, KEY, value, ...) -> (pictures that came decoded, logits) of a test."""
    return partial(tested, "pictures_from_store")


def blocks(tmp_path, kind="pixels-*"):
    return sorted((tmp_path / "feature_store").glob(f"{kind}/*.features"))


def test_beside_a_cpu_nothing_is_kept(evaluate, tmp_path):
    assert stored_pictures.pays(torch.device("cuda"))
    assert evaluate(*MAPLE)[0] == evaluate(*MAPLE)[0] == 0 and not blocks(tmp_path)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_warm_store_decodes_no_picture(evaluate, read, kept, tmp_path, workers):
    """Of any method, batch size and normalisation; and whatever is stored, results are those without a store."""
    workers = ("DATALOADER.NUM_WORKERS", workers)
    _, without = evaluate(*MAPLE, "STORE.MAX_GB", 0.0)
    found, logits = evaluate(*MAPLE, *workers)
    assert found == 0 and np.array_equal(logits, without) and len(blocks(tmp_path)) == 5
    read.clear()
    found, logits = evaluate(*MAPLE, *workers)
    assert found == 18 and np.array_equal(logits, without)
    for name, *options in (("SEP", "DATALOADER.TEST.BATCH_SIZE", 7), ("SEP",), (*MAPLE, "INPUT.TRANSFORMS", [])):
        assert evaluate(name, *workers, *options)[0] == 18
    assert not read
    for number, block in enumerate(blocks(tmp_path)[1:4]):  # half filled, damaged
        block.write_bytes(block.read_bytes()[: -8 * number]) if number else block.unlink()
    found, logits = evaluate(*MAPLE, *workers)
    assert found in (18 - 12, 18 - 10) and np.array_equal(logits, without)
    assert evaluate(*MAPLE, *workers)[0] == 18


def test_features_come_of_stored_pictures_and_keep_none(evaluate, read, kept, tmp_path):
    _, without = evaluate("CoOp", "STORE.MAX_GB", 0.0)
    assert np.array_equal(evaluate("CoOp")[1], without) and not blocks(tmp_path)
    for block in blocks(tmp_path, "*"):
        block.unlink()
    evaluate(*MAPLE)
    read.clear()
    found, logits = evaluate("CoOp")
    assert found == 18 and np.array_equal(logits, without) and not read


def test_a_picture_that_changes(evaluate, read, kept, tmp_path):
    root = ("DATASET.ROOT", str(tmp_path / "own"))
    _, before = evaluate(*MAPLE, *root)
    path = tmp_path / "own" / "tiny" / "test" / "0_0.png"
    path.write_bytes(path.with_name("5_0.png").read_bytes())
    read.clear()
    found, after = evaluate(*MAPLE, *root)
    assert found == 14 and len(read) == 4 and str(path) in read
    assert not np.array_equal(after[0], before[0]) and np.array_equal(after[1:], before[1:])


def test_a_disk_that_takes_nothing(evaluate, kept, monkeypatch, capsys):
    _, without = evaluate(*MAPLE, "STORE.MAX_GB", 0.0)
    monkeypatch.setattr(feature_store, "ROOM", 2**60)
    found, logits = evaluate(*MAPLE)
    assert found == 0 and np.array_equal(logits, without) and capsys.readouterr().out.count("cannot be written to") == 1


def test_a_store_that_is_too_small_keeps_the_first(evaluate, kept, tmp_path, capsys):
    _, without = evaluate(*MAPLE, "STORE.MAX_GB", 0.0)
    room = ("STORE.MAX_GB", 3 * 13_000 / 2**30)  # three blocks of 4 x 32 x 32 x 3 bytes
    for found in (0, 12):
        capsys.readouterr()
        assert evaluate(*MAPLE, *room)[0] == found and len(blocks(tmp_path)) == 3
        assert capsys.readouterr().out.count("is full, so that the other pictures are decoded each time: raise") == 1
    assert np.array_equal(evaluate(*MAPLE, *room)[1], without)


@pytest.mark.parametrize("change", ["k_tfm", "return_img0", "class", "transform"])
def test_data_sets_that_are_left_alone(make_trainer, kept, change):
    trainer = make_trainer(*MAPLE)
    images = copy.copy(trainer.test_loader.dataset)
    assert trainer.frozen.pictures(images)
    if change == "class":
        images.__class__ = type("Other", (type(images),), {})
    else:
        setattr(images, change, {"k_tfm": 2, "return_img0": True, "transform": None}[change])
    assert trainer.frozen.pictures(images) is None


def test_processes_that_are_spawned_map_the_store_for_themselves(make_trainer, kept):
    trainer = make_trainer(*MAPLE)
    trainer.test()
    pictures = trainer.frozen.pictures(trainer.test_loader.dataset)
    assert pictures.has(range(18)) and pictures[3]["img"].shape == (32, 32, 3)
    sent = pickle.dumps(pictures.blocks)
    assert len(sent) < 10_000 and pickle.loads(sent)[0].get(3) is not None


# ---- views of training images ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SEP", MAPLE[0]])
def test_views_are_decoded_once(make_trainer, read, kept, tmp_path, name):
    """In the order of the data set; what training draws is as without."""
    options = ("DATALOADER.STORED_VIEWS", 2, "OPTIM.MAX_EPOCH", 3, "TEST.NO_TEST", True)
    options = (*options, *(MAPLE[1:] if name == MAPLE[0] else ()))
    learners = []
    for output, size, decoded in (("none", 0.0, None), ("cold", 1.0, 2 * 36), ("warm", 1.0, 0), ("other", 1.0, 0)):
        read.clear()
        lr = ("OPTIM.LR", 0.01, "DATALOADER.TRAIN_X.BATCH_SIZE", 5) if output == "other" else ()
        trainer = make_trainer(name, *options, *lr, "STORE.MAX_GB", size, output=tmp_path / output)
        trainer.train()
        prototypes = 36 * (name == "SEP" and output == "cold")  # of the pictures as they are
        assert decoded is None or len(read) == decoded + prototypes
        learners.append(trainer.model.prompt_learner.state_dict())
    for key, value in learners[0].items():
        assert torch.equal(value, learners[1][key]) and torch.equal(value, learners[2][key])


def test_views_that_the_store_has_no_room_for(make_trainer, read, kept, tmp_path):
    options = ("DATALOADER.STORED_VIEWS", 2, "OPTIM.MAX_EPOCH", 1, "TEST.NO_TEST", True)
    trainer = make_trainer(*MAPLE, *options, "STORE.MAX_GB", 13_000 / 2**30)
    list(trainer.train_loader_x)
    assert len(blocks(tmp_path)) == 1
    assert 28 <= len(read) - stored_views.BATCH <= 32  # four batches of 8, behind one pass that ends early
