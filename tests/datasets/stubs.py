"""Stub trees with the real layout of each public data set: a few classes, 8 x 8 pictures."""

import json
import os
from collections import defaultdict

from PIL import Image

import train  # noqa: F401  registers every data set, and DATASET.SUBSAMPLE_CLASSES, as a run does
from dassl.config import get_cfg_default
from tests.conftest import REPOSITORY

# stem: (registered name, data set's folder, folder of the images, a path in it, class names in the order of labels)
SPLITS = {
    "caltech101": ("Caltech101", "caltech-101", "101_ObjectCategories", "{c}/{i}.jpg", ["face", "ant", "sea_horse"]),
    "oxford_pets": ("OxfordPets", "oxford_pets", "images", "{c}_{i}.jpg", ["abyssinian", "great_pyrenees", "pug"]),
    "stanford_cars": ("StanfordCars", "stanford_cars", "", "cars_{p}/{c}{i}.jpg", ["2012 Audi R8", "2007 BMW M3"]),
    "oxford_flowers": ("OxfordFlowers", "oxford_flowers", "jpg", "image_{c}{i}.jpg", ["pink primrose", "canna lily"]),
    "food101": ("Food101", "food-101", "images", "{c}/{i}.jpg", ["apple_pie", "baby_back_ribs", "tacos"]),
    "sun397": ("SUN397", "sun397", "SUN397", "{c[0]}/{c}/sun_{i}.jpg", ["abbey", "indoor bakery", "zen_garden"]),
    "dtd": ("DescribableTextures", "dtd", "images", "{c}/{c}_{i}.jpg", ["banded", "blotchy", "zigzagged"]),
    "eurosat": ("EuroSAT", "eurosat", "2750", "{c}/{c}_{i}.jpg", ["Annual Crop Land", "Forest", "Sea or Lake"]),
    "ucf101": ("UCF101", "ucf101", "UCF-101-midframes", "{c}/v_{c}_{i}.jpg", ["Apply_Eye_Makeup", "Yo_Yo"]),
}
AIRCRAFT = ["707-320", "A300B4", "Boeing 717", "F-16A/B"]
WNIDS = [f"n{14 * i + 1440764:08d}" for i in range(12)]
CLASSNAMES = ["tench", "great_white shark"] + [f"class {i}" for i in range(2, 12)]
VARIANTS = {  # stem: (registered name, data set's folder, folder of the images, class folders in the order of labels)
    "imagenet_sketch": ("ImageNetSketch", "imagenet-sketch", "images", WNIDS),
    "imagenet_a": ("ImageNetA", "imagenet-adversarial", "imagenet-a", WNIDS[1::3]),
    "imagenet_r": ("ImageNetR", "imagenet-rendition", "imagenet-r", WNIDS[2::5]),
    "imagenetv2": ("ImageNetV2", "imagenetv2", "imagenetv2-matched-frequency-format-val", [str(i) for i in range(12)]),
}
COUNTS = {"train": 6, "val": 5, "test": 3}
STEMS = [*SPLITS, "fgvc_aircraft", "imagenet", *VARIANTS]
SAMPLED = [*SPLITS, "fgvc_aircraft", "imagenet"]


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (len(str(path)) % 255, 9, 9)).save(path)


def named(folder):
    folder.mkdir(parents=True, exist_ok=True)
    # not in the order of the ids: labels must follow the ids, wherever the lines are
    lines = [f"{wnid} {name}\n" for wnid, name in zip(WNIDS, CLASSNAMES)]
    (folder / "classnames.txt").write_text("".join(reversed(lines)))


def make(stem, root):
    """Write the stub; returns its lists of (path in the root, label, class name) by part, in CoOp's order."""
    parts = defaultdict(list)
    if stem in SPLITS:
        name, folder, images, pattern, classes = SPLITS[stem]
        order = [(y, i) for i in range(max(COUNTS.values())) for y in reversed(range(len(classes)))]
        split = {p: [] for p in COUNTS}
        for p, n in COUNTS.items():
            for y, i in order:
                if i < n:
                    path = pattern.format(c=classes[y], i=f"{p[:2]}{i}", p="test" if p == "test" else "train")
                    split[p].append([path, y, classes[y]])
                    parts[p].append((os.path.join(folder, images, path), y, classes[y]))
        for path, _, _ in sum(parts.values(), []):
            picture(root / path)
        (root / folder / f"split_zhou_{name}.json").write_text(json.dumps(split))
    elif stem == "fgvc_aircraft":
        folder = root / stem
        for p, n in COUNTS.items():
            rows = [(f"{p}{y}{i}", y) for i in range(n) for y in (2, 0, 3, 1)]
            parts[p] = [(f"{stem}/images/{image}.jpg", y, AIRCRAFT[y]) for image, y in rows]
            for path, _, _ in parts[p]:
                picture(root / path)
            lines = "".join(f"{image} {AIRCRAFT[y]}\n" for image, y in rows)
            (folder / f"images_variant_{p}.txt").write_text(lines)
        (folder / "variants.txt").write_text("".join(f"{v}\n" for v in AIRCRAFT))
    elif stem == "imagenet":
        named(root / stem)
        for p, folder, n in (("train", "train", 6), ("test", "val", 3)):
            for y, wnid in enumerate(WNIDS[:5]):
                parts[p] += [(f"imagenet/images/{folder}/{wnid}/{i}.JPEG", y, CLASSNAMES[y]) for i in range(n)]
            for path, _, _ in parts[p]:
                picture(root / path)
        parts["val"] = parts["test"]
    else:
        _, folder, images, folders = VARIANTS[stem]
        named(root / folder)
        for y, wnid in enumerate(folders):
            name = CLASSNAMES[int(wnid) if stem == "imagenetv2" else WNIDS.index(wnid)]
            parts["test"] += [(f"{folder}/{images}/{wnid}/{i}.jpeg", y, name) for i in range(2)]
        for path, _, _ in parts["test"]:
            picture(root / path)
        parts["train"] = parts["test"]
    return parts


def config(stem, root, *pairs):
    cfg = get_cfg_default()
    cfg.merge_from_file(REPOSITORY / f"configs/datasets/{stem}.yaml")
    cfg.merge_from_list(["DATASET.ROOT", str(root), "OUTPUT_DIR", f"{root}-output", "SEED", 1, *pairs])
    return cfg


def entries(items, root):
    return items and [(os.path.relpath(i.impath, root), i.label, i.classname) for i in items]


def folders_of(stem):
    """(the data set's folder, its folder of images)"""
    if stem == "fgvc_aircraft":
        return stem, "images"
    if stem == "imagenet":
        return stem, "images/train"
    return (SPLITS.get(stem) or VARIANTS[stem])[1:3]
