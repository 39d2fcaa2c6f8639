"""Image transforms chosen by `cfg.INPUT.TRANSFORMS`, built from torchvision's."""

import torch
import torchvision.transforms as T
from torchvision.transforms import InterpolationMode

from dassl.utils import check_availability

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
        self.n_holes, self.length = n_holes, length

    def __repr__(self):
        return f"Cutout(n_holes={self.n_holes}, length={self.length})"

    def __call__(self, img):
        img = img.clone()
        half = self.length // 2
        for _ in range(self.n_holes):
            y, x = (int(torch.randint(size, ())) for size in img.shape[1:])
            img[:, max(y - half, 0) : y + half, max(x - half, 0) : x + half] = 0  # cut at the border, as published
        return img


def get_interpolation(inp):
    """Return torchvision's name for `inp.INTERPOLATION` (`inp`: a config's INPUT node). Raises ValueError."""
    check_availability(inp.INTERPOLATION, list(INTERPOLATION_MODES), kind="INPUT.INTERPOLATION")
    return INTERPOLATION_MODES[inp.INTERPOLATION]


def normalization(inp):
    """Return the transform "normalize" (`inp`: a config's INPUT node)."""
    return T.Normalize(mean=inp.PIXEL_MEAN, std=inp.PIXEL_STD)


def _random_translation(inp):
    """Half of the time, enlarge the image by an eighth and crop the size out of it at random."""
    larger = [int(round(edge * 1.125)) for edge in inp.SIZE]
    return T.RandomChoice([T.Resize(inp.SIZE), T.Compose([T.Resize(larger), T.RandomCrop(inp.SIZE)])])


def _operations(inp):
    """Operations of random strength, which is what FixMatch's RandAugment and the second one mean."""
    return T.Compose([T.TrivialAugmentWide() for _ in range(inp.RANDAUGMENT_N)])


def _color_jitter(inp):
    return T.ColorJitter(inp.COLORJITTER_B, inp.COLORJITTER_C, inp.COLORJITTER_S, inp.COLORJITTER_H)


def _gaussian_noise(inp):
    from torchvision.transforms.v2 import GaussianNoise  # here: it needs all of torchvision

    return T.RandomApply([GaussianNoise(mean=inp.GN_MEAN, sigma=inp.GN_STD, clip=False)], p=0.5)


# Name in INPUT.TRANSFORMS: (what is printed, transform of a config's INPUT node), in the order in which they are
# applied. Steps whose names are in capitals are there without being asked for.
_STEPS = {
    "RESIZE": (
        "resize to {inp.SIZE[0]}x{inp.SIZE[1]}",
        lambda inp: T.Resize(inp.SIZE, interpolation=get_interpolation(inp)),
    ),
    "RESIZE_EDGE": (
        "resize the smaller edge to {edge}",
        lambda inp: T.Resize(max(inp.SIZE), interpolation=get_interpolation(inp)),
    ),
    "CENTER_CROP": ("{inp.SIZE[0]}x{inp.SIZE[1]} center crop", lambda inp: T.CenterCrop(inp.SIZE)),
    "random_translation": ("random translation", _random_translation),
    "random_crop": (
        "random crop (padding = {inp.CROP_PADDING})",
        lambda inp: T.RandomCrop(inp.SIZE, inp.CROP_PADDING, pad_if_needed=True),
    ),
    "random_resized_crop": (
        "random resized crop (size={inp.SIZE}, scale={inp.RRCROP_SCALE})",
        lambda inp: T.RandomResizedCrop(inp.SIZE, inp.RRCROP_SCALE, interpolation=get_interpolation(inp)),
    ),
    "random_flip": ("random flip", lambda inp: T.RandomHorizontalFlip()),
    "imagenet_policy": ("imagenet policy", lambda inp: T.AutoAugment(T.AutoAugmentPolicy.IMAGENET)),
    "cifar10_policy": ("cifar10 policy", lambda inp: T.AutoAugment(T.AutoAugmentPolicy.CIFAR10)),
    "svhn_policy": ("svhn policy", lambda inp: T.AutoAugment(T.AutoAugmentPolicy.SVHN)),
    "randaugment": (
        "randaugment (n={inp.RANDAUGMENT_N}, m={inp.RANDAUGMENT_M})",
        lambda inp: T.RandAugment(inp.RANDAUGMENT_N, inp.RANDAUGMENT_M),
    ),
    "randaugment_fixmatch": ("randaugment_fixmatch (n={inp.RANDAUGMENT_N})", _operations),
    "randaugment2": ("randaugment2 (n={inp.RANDAUGMENT_N})", _operations),
    "colorjitter": (
        "color jitter (brightness={inp.COLORJITTER_B}, contrast={inp.COLORJITTER_C}, saturation={inp.COLORJITTER_S}, "
        "hue={inp.COLORJITTER_H})",
        _color_jitter,
    ),
    "randomgrayscale": ("random gray scale", lambda inp: T.RandomGrayscale(inp.RGS_P)),
    "gaussian_blur": (
        "gaussian blur (kernel={inp.GB_K})",
        lambda inp: T.RandomApply([T.GaussianBlur(inp.GB_K)], inp.GB_P),
    ),
    "TO_TENSOR": ("to torch tensor of range [0, 1]", lambda inp: T.ToTensor()),
    "cutout": (
        "cutout (n_holes={inp.CUTOUT_N}, length={inp.CUTOUT_LEN})",
        lambda inp: Cutout(inp.CUTOUT_N, inp.CUTOUT_LEN),
    ),
    "normalize": ("normalization (mean={inp.PIXEL_MEAN}, std={inp.PIXEL_STD})", normalization),
    "gaussian_noise": ("gaussian noise (mean={inp.GN_MEAN}, std={inp.GN_STD})", _gaussian_noise),
    "instance_norm": ("instance normalization", lambda inp: InstanceNormalization()),
}
# "center_crop" is accepted and without effect: every test transform has one
AVAI_CHOICES = [name for name in _STEPS if name.islower()] + ["center_crop"]


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
    chosen = set(choices)
    if not is_train:
        chosen = {"RESIZE_EDGE", "CENTER_CROP", *chosen & {"normalize", "instance_norm"}}
    elif not chosen & {"random_crop", "random_resized_crop"}:
        chosen.add("RESIZE")
    print(f"Building transform_{'train' if is_train else 'test'}")
    transforms = []
    for name, (description, build) in _STEPS.items():
        if name in chosen or name == "TO_TENSOR":
            print("+ " + description.format(inp=cfg.INPUT, edge=max(cfg.INPUT.SIZE)))
            transforms.append(build(cfg.INPUT))
    return T.Compose(transforms)
