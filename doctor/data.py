"""The data sets: whether what is there is what the papers' numbers are of."""

import contextlib
import io
import os
import random
from collections.abc import Iterator
from types import SimpleNamespace

import datasets.image_folder  # noqa: F401  its keys
import trainers.base  # noqa: F401  those of all data sets
from dassl.config import get_cfg_default
from dassl.data.classes import same_names
from dassl.data.datasets import build_dataset
from datasets.few_shot import draw_few_shot
from datasets.prepare.check import undecodable
from datasets.prepare.state import NAMES, PARTS, Found, known
from datasets.published import ANOTHER, COOP, sample_origin
from harness.catalogue import BUNDLED, OWN_DATASETS
from harness.command_line import parse_args
from harness.config import merge_args

from .findings import FAULT, NOTE, OK, Finding

ALL = [*NAMES, *BUNDLED]
SHOTS, SEEDS = 16, (1, 2, 3)  # of the samples that are compared
DECODED = 10  # pictures


def find(names: list, root: str) -> list:
    """What is there of the data sets of these names, or, without any, of all that are there: a list of `Found`.

    Raises UserError for a name that no data set has.
    """
    own = [OwnFound(OWN_DATASETS[name]) for name in OWN_DATASETS if name in names or not names]
    others = [known(name, ALL) for name in names if name not in OWN_DATASETS]
    if (names and not others) or not os.path.isdir(root):
        return own
    found = [Found(name, root) for name in others or ALL]
    return [*(found if names else [one for one in found if one.state != "absent"]), *own]


class OwnFound:
    """A data set outside this checkout, as `Found`; there are no published numbers that it could be compared with."""

    state = "own"
    split, origin, missing = "", "", ()

    def __init__(self, own):
        self.name, self.folder, self.items, self.lacks = own.name, own.home, {}, []
        cfg = get_cfg_default()
        merge_args(cfg, parse_args(["--dataset-config-file", own.file]))
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                built = build_dataset(cfg)
        except ValueError as error:
            self.lacks = [str(error)]
            return
        parts = zip(PARTS, (built.train_x, built.val, built.test))
        self.items = {part: items for part, items in parts if items and (part == "test" or items is not built.test)}


def data(found: Found, root: str) -> Iterator[Finding]:
    """What there is to say of one data set."""
    check, get = f"data, {found.name}", f"python tools/prepare_data.py get {found.name} --root {root}"
    if found.state == "own":
        get = ""
    if found.name in BUNDLED:
        get = "the first run draws it" if found.state == "absent" else ""
    if found.state == "absent":
        yield Finding(NOTE if found.name in BUNDLED else FAULT, check, f"{found.folder} does not hold it", get)
        return
    faults = [Finding(FAULT, check, phrase.rstrip("."), get) for phrase in found.lacks]
    if found.split == ANOTHER:
        aside = f"move it away, then {get}"
        faults.append(Finding(FAULT, check, _lower(found.origin), aside))
    items = {path: None for part in found.items.values() for path in (item.impath for item in part)}
    missing = {os.path.join(found.folder, path) for path in found.missing}
    there = sorted(items.keys() - missing)
    pictures = random.Random(0).sample(there, min(DECODED, len(there)))
    faults += [Finding(FAULT, check, sentence) for sentence in undecodable(pictures)]
    sample = [] if found.split == ANOTHER or found.state == "own" else samples(found)
    others = [str(seed) for seed, origin in zip(SEEDS, sample) if origin.startswith(ANOTHER)]
    if others:
        text = f"the few-shot sample of seed {', '.join(others)} is another than the published one"
        faults.append(
            Finding(FAULT, check, text, "results do not compare to published ones: get its lists of images anew")
        )
    yield from faults
    if not faults:
        known_too = bool(sample) and all(origin.startswith(COOP) for origin in sample)
        yield Finding(OK, check, ", ".join(_praise(found, len(pictures), known_too)))
    same = same_names(dict.fromkeys(item.classname for part in found.items.values() for item in part))
    if same:
        yield Finding(NOTE, check, f"CLIP reads some classes alike, so that they have one prompt: {same}")


def some_pictures(found: list) -> list:
    """Paths of up to 1,000 training pictures of the first public data set of a list of `Found` that has some."""
    public = (one for one in found if one.name not in BUNDLED and "train" in one.items)
    items = next((one.items["train"] for one in public), [])
    return random.Random(0).sample([item.impath for item in items], min(1000, len(items)))


def samples(found: Found) -> list:
    """`published.sample_origin` of the samples of `SEEDS`; empty if it has no training images, or none is published."""
    dataset, train = found.loader.__new__(found.loader), found.items.get("train")
    if not train:
        return []
    origins = []
    for seed in SEEDS:
        cfg = SimpleNamespace(DATASET=SimpleNamespace(NUM_SHOTS=SHOTS), SEED=seed, OUTPUT_DIR="")
        with contextlib.redirect_stdout(io.StringIO()):
            train_few, val_few = draw_few_shot(dataset, train, found.items.get("val"), cfg, found.folder)
        origin = sample_origin(found.loader.__name__, train_few, val_few, SHOTS, seed, found.folder)
        origins.append(origin)
    return [origin for origin in origins if origin]


def _praise(found, decoded, sample_is_known):
    classes = len({item.label for part in found.items.values() for item in part})
    yield f"{classes:,} classes"
    yield " / ".join(f"{len(found.items[part]):,}" if part in found.items else "–" for part in PARTS) + " images"
    if found.origin:
        yield "CoOp's own split" if found.split == COOP else "split of its own lists or folders, as CoOp's"
    if sample_is_known:
        yield f"samples of seeds {SEEDS[0]} to {SEEDS[-1]} as published"
    yield f"{decoded} pictures decode"


def _lower(sentence):
    return sentence[0].lower() + sentence[1:].rstrip(".")
