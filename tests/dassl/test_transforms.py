import numpy as np
import pytest
import torch
from PIL import Image

from dassl.config import get_cfg_default
from dassl.data.transforms import AVAI_CHOICES, Cutout, InstanceNormalization, build_transform

IMAGE = Image.fromarray(np.random.RandomState(0).randint(0, 256, (40, 60, 3), dtype=np.uint8))


@pytest.fixture
def cfg():
    cfg = get_cfg_default()
    cfg.INPUT.SIZE = (32, 24)
    cfg.INPUT.INTERPOLATION = "bicubic"
    return cfg


def log_of(capsys, *args, **kwargs):
    capsys.readouterr()
    build_transform(*args, **kwargs)
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("choice", AVAI_CHOICES)
def test_every_choice_makes_an_image_of_the_size(cfg, choice):
    torch.manual_seed(0)
    for is_train in (True, False):
        image = build_transform(cfg, is_train=is_train, choices=[choice])(IMAGE)
        assert image.shape == (3, 32, 24) and image.dtype == torch.float32 and image.isfinite().all()


@pytest.mark.parametrize("choice", sorted(set(AVAI_CHOICES) - {"center_crop"}))
def test_every_choice_changes_the_image(cfg, choice):
    plain = build_transform(cfg, choices=[])(IMAGE)
    torch.manual_seed(0)
    transform = build_transform(cfg, choices=[choice])
    assert any(not torch.equal(transform(IMAGE), plain) for _ in range(10))


def test_training_steps_come_in_a_fixed_order(cfg, capsys):
    choices = [c for c in reversed(AVAI_CHOICES) if c not in ("random_crop", "center_crop")]
    steps = [line.split(" (")[0] for line in log_of(capsys, cfg, choices=choices)]
    assert steps == [
        "Building transform_train",
        "+ random translation",
        "+ random resized crop",
        "+ random flip",
        "+ imagenet policy",
        "+ cifar10 policy",
        "+ svhn policy",
        "+ randaugment",
        "+ randaugment_fixmatch",
        "+ randaugment2",
        "+ color jitter",
        "+ random gray scale",
        "+ gaussian blur",
        "+ to torch tensor of range [0, 1]",
        "+ cutout",
        "+ normalization",
        "+ gaussian noise",
        "+ instance normalization",
    ]


def test_without_a_crop_training_images_are_resized(cfg, capsys):
    assert log_of(capsys, cfg)[1] == "+ resize to 32x24"
    assert "+ resize to 32x24" not in log_of(capsys, cfg, choices=["random_crop"])


def test_test_transform_resizes_crops_and_normalises(cfg):
    cfg.INPUT.TRANSFORMS = ("random_resized_crop", "random_flip", "normalize")
    cfg.INPUT.PIXEL_MEAN, cfg.INPUT.PIXEL_STD = [0.1, 0.2, 0.3], [0.5, 0.6, 0.7]
    result = build_transform(cfg, is_train=False)(IMAGE)
    resized = IMAGE.resize((48, 32), Image.BICUBIC)  # shorter edge (height 40) to max(32, 24)
    pixels = np.asarray(resized)[:, 12:36].astype(np.float64) / 255
    expected = (pixels - [0.1, 0.2, 0.3]) / [0.5, 0.6, 0.7]
    assert np.abs(result.numpy() - expected.transpose(2, 0, 1)).max() < 1e-5


def test_interpolation_is_the_configs(cfg):
    images = []
    for mode in ("bilinear", "bicubic", "nearest"):
        cfg.INPUT.INTERPOLATION = mode
        images.append(build_transform(cfg, is_train=False)(IMAGE))
    assert not torch.equal(images[0], images[1]) and not torch.equal(images[1], images[2])


def test_no_transform(cfg):
    cfg.INPUT.NO_TRANSFORM = True
    assert build_transform(cfg) is None


def test_unknown_names_are_named(cfg):
    with pytest.raises(ValueError, match='"random_flipp": did you mean random_flip'):
        build_transform(cfg, choices=["random_flipp"])
    cfg.INPUT.INTERPOLATION = "bicubik"
    with pytest.raises(ValueError, match="did you mean bicubic"):
        build_transform(cfg)


def test_instance_normalization():
    image = InstanceNormalization()(torch.rand(3, 20, 20) * torch.tensor([1.0, 5.0, 9.0]).view(3, 1, 1))
    assert torch.allclose(image.mean((1, 2)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(image.std((1, 2)), torch.ones(3), atol=1e-5)


def test_cutout_cuts_squares():
    image = torch.ones(3, 30, 30)
    sizes = set()
    for seed in range(50):
        torch.manual_seed(seed)
        cut = Cutout(n_holes=1, length=8)(image) == 0
        assert torch.equal(cut[0], cut[1]) and torch.equal(cut[0], cut[2])
        rows, columns = cut[0].any(1).sum().item(), cut[0].any(0).sum().item()
        assert cut[0].sum() == rows * columns  # one rectangle, smaller than 8 x 8 at the border only
        sizes.add((rows, columns))
    assert max(sizes) == (8, 8) and min(sizes)[0] >= 4
    assert image.min() == 1
