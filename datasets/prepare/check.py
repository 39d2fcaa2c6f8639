"""Compare a data set with its split, class by class, and decode a sample of its images."""

import os
import random
from collections import Counter, defaultdict

from dassl.utils import progress, read_image

from .state import PARTS


def summary(found, sample, problems):
    """A data set in one row: name, classes, images of each part, missing, not in the split, decoded, verdict.

    `sample` images of each class are decoded. Adds a sentence for all that is wrong to the list `problems`.
    """
    name = found.loader.__name__
    before = len(problems)
    if found.state == "absent":
        problems.append(f"{name}: {found.folder} does not hold it.")
    else:
        problems += [f"{name}: {phrase.rstrip('.')}." for phrase in found.lacks]
    decoded, damaged = decode(found, sample)
    problems += [f"{name}: {sentence}." for sentence in damaged]
    classes = len({item.label for items in found.items.values() for item in items})
    sizes = [f"{len(found.items[part]):,}" if part in found.items else "–" for part in PARTS]
    counts = [f"{len(found.missing):,}", f"{len(found.extra()):,}" if found.items else "–", f"{decoded:,}"]
    return [name, f"{classes:,}", *sizes, *counts, "wrong" if len(problems) > before else "right"]


def class_rows(found, every):
    """Label, name and images by part of every class, or only of those that lack one: "5 of 6"."""
    missing = {os.path.join(found.folder, path) for path in found.missing}
    named, there, names = Counter(), Counter(), {}
    for part, items in found.items.items():
        for item in items:
            names[item.label] = item.classname
            named[item.label, part] += 1
            there[item.label, part] += item.impath not in missing
    rows = []
    for label in sorted(names):
        pairs = [(there[label, part], named[label, part]) for part in PARTS]
        if every or any(have != n for have, n in pairs):
            cells = [f"{have:,}" if have == n else f"{have:,} of {n:,}" for have, n in pairs]
            rows.append([label, names[label], *cells])
    return rows


def decode(found, sample):
    """Decode `sample` images of every class, the same ones each time: (how many, sentences on damaged ones)."""
    missing = {os.path.join(found.folder, path) for path in found.missing}
    by_label = defaultdict(dict)  # a dict, since an image may be in two parts
    for items in found.items.values():
        for item in items:
            if item.impath not in missing:
                by_label[item.label][item.impath] = None
    rng = random.Random(0)
    chosen = [path for images in by_label.values() for path in rng.sample(list(images), min(sample, len(images)))]
    damaged = undecodable(progress(chosen, f"Decoding {found.name}", "image", leave=False))
    return len(chosen) - len(damaged), damaged


def undecodable(paths):
    """A sentence for each picture that cannot be decoded."""
    damaged = []
    for path in paths:
        try:
            read_image(path)
        except (ValueError, FileNotFoundError) as e:
            damaged.append(str(e))
    return damaged
