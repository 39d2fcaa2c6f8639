"""What there is of each public data set."""

import contextlib
import difflib
import functools
import io
import os
import tempfile

import yaml

import datasets
from dassl.config import get_cfg_default
from dassl.data.datasets import DATASET_REGISTRY
from dassl.utils import UserError, import_all
from dassl.utils.picture_files import is_picture_name

from ..imagenet import ImageNet, ImageNetVariant
from ..listing import ListedImage
from ..published import split_origin
from .remotes import plain

NAMES = (
    "imagenet caltech101 oxford_pets stanford_cars oxford_flowers food101 fgvc_aircraft sun397 dtd eurosat ucf101 "
    "imagenetv2 imagenet_sketch imagenet_a imagenet_r"
).split()
PARTS = ("train", "val", "test")
CONFIGS = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, os.pardir, "configs", "datasets")
SHOWN = 5  # of a list of wrong files


@functools.cache
def loader_of(name):
    """The class of a data set, by its name in configs/datasets/."""
    import_all(datasets)  # registers it
    with open(os.path.join(CONFIGS, f"{name}.yaml"), encoding="utf-8") as file:
        return DATASET_REGISTRY.get(yaml.safe_load(file)["DATASET"]["NAME"])


def known(name, names=NAMES):
    """Which of `names`, in configs/datasets/, a user may mean who says Caltech101, caltech-101 or caltech101."""
    for candidate in names:
        loader = loader_of(candidate)
        if plain(name) in map(plain, (candidate, loader.__name__, loader.dataset_dir)):
            return candidate
    near = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0)
    raise UserError(f'There is no data set "{name}"; the nearest are {", ".join(near)} (list shows all).')


class Found:
    """What is there of a data set, by the facts of its loader; no image is opened.

    Attributes:
        name, loader, folder: as in configs/datasets/, its class, and where it is.
        absent: the loader's files and folders that are not there.
        problem: the sentence with which the loader refuses it, or "".
        items: {part: list of images}, those of the split; empty if it cannot be read.
        missing: the split's images that are not there; paths in `folder`.
        sizes: phrases for every number that is not as published.
        split, origin: what `published.split_origin` says of its split; empty if it cannot be read, or is not public.
    """

    def __init__(self, name, root):
        cfg = get_cfg_default()
        cfg.DATASET.ROOT = root
        self.name, self.loader = name, loader_of(name)
        dataset = self.loader.__new__(self.loader)
        dataset.locate(cfg)
        self.folder, self.images = dataset.dataset_dir, dataset.image_dir
        self.items, self.missing, self.sizes, self.problem, self.split, self.origin = {}, [], [], "", "", ""
        self.absent = [f for f in self.loader.files() if not os.path.exists(os.path.join(self.folder, f))]
        if self.absent:
            return
        try:
            # a list of images that cannot be kept beside a read-only data set is not kept at all
            with tempfile.TemporaryDirectory() as cfg.OUTPUT_DIR, contextlib.redirect_stdout(io.StringIO()):
                parts = dataset.read(cfg, ListedImage)
        except ValueError as e:
            self.problem = str(e)
            return
        self.sizes = dataset.wrong_sizes(*parts)
        split = os.path.join(self.folder, dataset.split_file) if dataset.split_file else ""
        self.split, self.origin = split_origin(self.loader.__name__, split) or ("", "")
        self.items = {part: items for part, items in zip(PARTS, parts) if items}
        if not self.listed:
            paths = {item.impath for items in self.items.values() for item in items}
            there = {path for folder in {os.path.dirname(p) for p in paths} for path in _files(folder)}
            self.missing = sorted(os.path.relpath(path, self.folder) for path in paths - there)

    @property
    def listed(self):
        """Whether its images are those that its folders hold, so that only their number can tell that one lacks."""
        return issubclass(self.loader, (ImageNet, ImageNetVariant))

    @property
    def state(self):
        if len(self.absent) == len(self.loader.files()):
            return "absent"
        return "incomplete" if self.lacks else "complete"

    @property
    def lacks(self):
        """Phrases for all that is missing or wrong."""
        phrases = [f"no {name}" for name in self.absent] + ([self.problem] if self.problem else [])
        if self.missing:
            phrases.append(f"no {some(self.missing)}")
        return phrases + self.sizes

    @property
    def wanted(self):
        """The loader's files and folders that `get` is to complete."""
        folders = [name for name in self.loader.files() if os.path.isdir(os.path.join(self.folder, name))]
        if self.listed:
            counts = [(len(self.items.get(part, ())), n or 0) for part, n in zip(PARTS, self.loader.expected_images)]
            return self.absent + (folders if self.problem or any(have < n for have, n in counts) else [])
        return self.absent + [name for name in folders if any(path.startswith(f"{name}/") for path in self.missing)]

    def extra(self):
        """Images that the split does not name; paths in `folder`."""
        named = {item.impath for items in self.items.values() for item in items}
        there = (path for path in _walk(self.images) if is_picture_name(os.path.basename(path)))
        return sorted(os.path.relpath(path, self.folder) for path in there if path not in named)


def some(names):
    """The first few of a list, and how many more there are."""
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _files(folder):
    return [os.path.join(folder, name) for name in os.listdir(folder)] if os.path.isdir(folder) else []


def _walk(folder):
    """Files below a folder, through links to folders but never twice; hidden ones are passed over."""
    seen = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        folders[:] = [] if real in seen else [name for name in folders if name[0] != "."]
        if real not in seen:
            yield from (os.path.join(parent, name) for name in names if name[0] != ".")
        seen.add(real)
