"""Image transforms chosen by `cfg.INPUT.TRANSFORMS`, built from torchvision's."""

import torch
import torchvision.transforms as T
from torchvision.transforms import InterpolationMode

from dassl.utils import check_availability

AVAI_CHOICES = [
    "random_flip",
    "random_resized_crop",
    "normalize",
    "instance_norm",
    "random_crop",
    "random_translation",
    "center_crop",  # accepted and without effect: every test transform has one
    "cutout",
    "imagenet_policy",
    "cifar10_policy",
    "svhn_policy",
    "randaugment",
    "randaugment_fixmatch",
    "randaugment2",
    "gaussian_noise",
    "colorjitter",
    "randomgrayscale",
    "gaussian_blur",
]

INTERPOLATION_MODES = {
    "bilinear": InterpolationMode.BILINEAR,
    "bicubic": InterpolationMode.BICUBIC,
    "nearest": InterpolationMode.NEAREST,
}


class InstanceNormalization:
    """Shift and scale each channel of an image (..., C, H, W) by its own mean and standard deviation."""

    def __init__(self, eps=1e-8):
        self.eps = eps

    def __repr__(self):
        return f"InstanceNormalization(eps={self.eps})"

    def __call__(self, img):
        std, mean = torch.std_mean(img, dim=(-2, -1), keepdim=True)
        return (img - mean) / (std + self.eps)


class Cutout:
    """Set `n_holes` squares of side `length`, centred anywhere in an image (C, H, W), to 0."""

    def __init__(self, n_holes=1, length=16):
        self.n_holes = n_holes
        self.length = length

    def __repr__(self):
        return f"Cutout(n_holes={self.n_holes}, length={self.length})"

    def __call__(self, img):
        img = img.clone()
        half = self.length // 2
        for _ in range(self.n_holes):
            y, x = (int(torch.randint(size, ())) for size in img.shape[1:])
            img[:, max(y - half, 0) : y + half, max(x - half, 0) : x + half] = 0  # cut at the border, as published
        return img


def build_transform(cfg, is_train=True, choices=None):
    """Build the transform from a PIL image to a tensor (3, H, W); None if `cfg.INPUT.NO_TRANSFORM`.

    Args:
        is_train: with the random augmentations; else resize, center crop and normalisation only.
        choices: names of transforms, instead of `cfg.INPUT.TRANSFORMS`.

    Raises ValueError for an unknown transform or interpolation, with the known ones.
    """
    if cfg.INPUT.NO_TRANSFORM:
        print("Note: no transform is applied!")
        return None
    choices = cfg.INPUT.TRANSFORMS if choices is None else choices
    for choice in choices:
        check_availability(choice, AVAI_CHOICES, kind="transform (INPUT.TRANSFORMS)")
    print(f"Building transform_{'train' if is_train else 'test'}")
    steps = _train_steps(cfg.INPUT, choices) if is_train else _test_steps(cfg.INPUT, choices)
    transforms = []
    for description, transform in steps:
        print(f"+ {description}")
        transforms.append(transform)
    return T.Compose(transforms)


def get_interpolation(inp):
    """Return torchvision's name for `inp.INTERPOLATION` (`inp`: a config's INPUT node). Raises ValueError."""
    check_availability(inp.INTERPOLATION, list(INTERPOLATION_MODES), kind="INPUT.INTERPOLATION")
    return INTERPOLATION_MODES[inp.INTERPOLATION]


def _train_steps(inp, choices):
    size, mode = inp.SIZE, get_interpolation(inp)
    n, m = inp.RANDAUGMENT_N, inp.RANDAUGMENT_M

    if "random_crop" not in choices and "random_resized_crop" not in choices:
        yield f"resize to {size[0]}x{size[1]}", T.Resize(size, interpolation=mode)
    if "random_translation" in choices:
        yield "random translation", _random_translation(size)
    if "random_crop" in choices:
        yield f"random crop (padding = {inp.CROP_PADDING})", T.RandomCrop(size, inp.CROP_PADDING, pad_if_needed=True)
    if "random_resized_crop" in choices:
        yield (
            f"random resized crop (size={size}, scale={inp.RRCROP_SCALE})",
            T.RandomResizedCrop(size, scale=inp.RRCROP_SCALE, interpolation=mode),
        )
    if "random_flip" in choices:
        yield "random flip", T.RandomHorizontalFlip()
    for name in ("imagenet", "cifar10", "svhn"):
        if f"{name}_policy" in choices:
            yield f"{name} policy", T.AutoAugment(T.AutoAugmentPolicy(name))
    if "randaugment" in choices:
        yield f"randaugment (n={n}, m={m})", T.RandAugment(n, m)
    # FixMatch's and "2": operations of random strength
    for name in ("randaugment_fixmatch", "randaugment2"):
        if name in choices:
            yield f"{name} (n={n})", T.Compose([T.TrivialAugmentWide() for _ in range(n)])
    if "colorjitter" in choices:
        b, c, s, h = inp.COLORJITTER_B, inp.COLORJITTER_C, inp.COLORJITTER_S, inp.COLORJITTER_H
        yield (
            f"color jitter (brightness={b}, contrast={c}, saturation={s}, hue={h})",
            T.ColorJitter(brightness=b, contrast=c, saturation=s, hue=h),
        )
    if "randomgrayscale" in choices:
        yield "random gray scale", T.RandomGrayscale(p=inp.RGS_P)
    if "gaussian_blur" in choices:
        yield f"gaussian blur (kernel={inp.GB_K})", T.RandomApply([T.GaussianBlur(inp.GB_K)], p=inp.GB_P)
    yield _to_tensor()
    if "cutout" in choices:
        yield (
            f"cutout (n_holes={inp.CUTOUT_N}, length={inp.CUTOUT_LEN})",
            Cutout(inp.CUTOUT_N, inp.CUTOUT_LEN),
        )
    if "normalize" in choices:
        yield normalization(inp)
    if "gaussian_noise" in choices:
        from torchvision.transforms.v2 import GaussianNoise  # here: it needs all of torchvision

        noise = GaussianNoise(mean=inp.GN_MEAN, sigma=inp.GN_STD, clip=False)
        yield f"gaussian noise (mean={inp.GN_MEAN}, std={inp.GN_STD})", T.RandomApply([noise], p=0.5)
    if "instance_norm" in choices:
        yield "instance normalization", InstanceNormalization()


def _test_steps(inp, choices):
    size = inp.SIZE
    yield (
        f"resize the smaller edge to {max(size)}",
        T.Resize(max(size), interpolation=get_interpolation(inp)),
    )
    yield f"{size[0]}x{size[1]} center crop", T.CenterCrop(size)
    yield _to_tensor()
    if "normalize" in choices:
        yield normalization(inp)
    if "instance_norm" in choices:
        yield "instance normalization", InstanceNormalization()


def _to_tensor():
    return "to torch tensor of range [0, 1]", T.ToTensor()


def normalization(inp):
    """Return the description and the transform of "normalize" (`inp` is a config's INPUT node)."""
    return (
        f"normalization (mean={inp.PIXEL_MEAN}, std={inp.PIXEL_STD})",
        T.Normalize(mean=inp.PIXEL_MEAN, std=inp.PIXEL_STD),
    )


def _random_translation(size):
    """Half of the time, enlarge the image by an eighth and crop `size` out of it at random."""
    larger = [int(round(edge * 1.125)) for edge in size]
    return T.RandomChoice([T.Resize(size), T.Compose([T.Resize(larger), T.RandomCrop(size)])])
