"""ImageNet's list of files, 1.33 million of them; and what a picture of a test costs to read, decoded and stored."""

import contextlib
import io
import os
import sys
import tempfile
import time
from unittest.mock import patch

import torch

from dassl.data.datasets import build_dataset
from trainers.features import stored_pictures
from trainers.features.feature_store import FeatureStore
from trainers.run.record import peak_memory_mb

# isort: split
from clip.model import CLIP

from .config import REPOSITORY, config_of
from .pictures import make_pictures
from .store import build
from .table import Table
from .timing import in_fresh_process, interleaved
from .vit import GEOMETRY, names_of

LIMITS = {"first": 20.0, "cached": 3.0}  # seconds
MEMORY_LIMIT = 1536  # MiB
N_CLASSES, IMAGES = 1_000, {"train": 1_281_167, "val": 50_000}


def add_arguments(parser):
    parser.add_argument("--pictures", type=int, help="instead, read a test of so many pictures, decoded and stored")
    parser.add_argument("--side", type=int, default=450, help="pixels of a picture's side")
    parser.add_argument("--rounds", type=int, default=5)


def measure(args):
    """ImageNet's list of files, first and cached; or with --pictures, reading without and with stored pictures."""
    return reading(args) if args.pictures else lists()


def lists():
    """Build ImageNet (16 shots) from a stub of as many empty files, for the first time and from its cache."""
    with tempfile.TemporaryDirectory(prefix="bench-data-") as root:
        print(f"Making {sum(IMAGES.values()):,} empty files in {root}", file=sys.stderr)
        make_stub(root, N_CLASSES, IMAGES)
        rows = []
        for name, limit in LIMITS.items():
            seconds, memory, *_ = in_fresh_process(build_imagenet, root)
            kept = seconds < limit and memory < MEMORY_LIMIT
            rows.append([name, seconds, limit, memory, MEMORY_LIMIT, "yes" if kept else "NO"])
    columns = [("", ""), ("seconds", ".1f"), ("limit", ".0f"), ("peak MiB", ".0f"), ("limit", ".0f"), ("kept", "")]
    total = sum(IMAGES.values())
    return Table(
        f"ImageNet's list of files, {total:,} in {N_CLASSES:,} classes, each time in a fresh process", columns, rows
    )


def make_stub(root, n_classes, images):
    """ImageNet's folders with empty files in them, unchanged for an hour; `images`: part -> how many in all."""
    wnids = [f"n{i:08d}" for i in range(n_classes)]
    for part, total in images.items():
        for i, wnid in enumerate(wnids):
            folder = os.path.join(root, "imagenet", "images", part, wnid)
            os.makedirs(folder)
            for k in range(total // n_classes + (i < total % n_classes)):
                os.close(os.open(os.path.join(folder, f"{wnid}_{k}.JPEG"), os.O_CREAT | os.O_WRONLY))
            an_hour_ago = time.time() - 3600  # a folder that changed just now would be read again
            os.utime(folder, (an_hour_ago, an_hour_ago))
    with open(os.path.join(root, "imagenet", "classnames.txt"), "w", encoding="utf-8") as file:
        file.writelines(f"{wnid} class {i}\n" for i, wnid in enumerate(wnids))


def build_imagenet(root):
    """Seconds that the data set takes and peak MiB of its process; also its number of images."""
    files = ["--dataset-config-file", f"{REPOSITORY}/configs/datasets/imagenet.yaml"]
    arguments = [*files, "--root", root, "--seed", "1", "--output-dir", root, "DATASET.NUM_SHOTS", "16"]
    with contextlib.redirect_stdout(io.StringIO()):
        cfg = config_of(arguments)
        start = time.perf_counter()
        dataset = build_dataset(cfg)
    return time.perf_counter() - start, peak_memory_mb(), len(dataset.train_x), len(dataset.test)


def reading(args):
    """What MaPLe's test at 224 x 224 pixels reads, in this process: without the store, with an empty and a full one."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        names = names_of(10)
        for split, n in (("train", len(names)), ("test", args.pictures)):
            make_pictures([os.path.join(folder, "image_folder", split, name) for name in names], n, args.side)
        weights = os.path.join(folder, "weights.pt")
        torch.save(CLIP(*GEOMETRY).state_dict(), weights)
        trainer = build("MaPLe", folder, weights)
        seconds = interleaved(ways_to_read(trainer, folder), args.rounds, "cpu")
    decoded = seconds["decoded"]
    return Table(
        f"A test's pictures, {args.pictures} JPEGs of {args.side} x {args.side}, ms each; the aim is 0.2 of decoding",
        [("", ""), ("wall", ".2f"), ("CPU", ".2f"), ("/ decoded", ".3f"), ("CPU / decoded", ".3f")],
        [
            [name, *(1000 * x / args.pictures for x in taken), taken.wall / decoded.wall, taken.cpu / decoded.cpu]
            for name, taken in seconds.items()
        ],
    )


def ways_to_read(trainer, folder):
    """For `interleaved`, each as a run of its own would, but for the checksum of its weights."""

    def way(size, new):
        def prepare():
            kept = tempfile.mkdtemp(dir=folder) if new else os.path.join(folder, "store")
            trainer.frozen.store = FeatureStore(kept, size)

        def read():
            with patch.object(stored_pictures, "pays", lambda device: True):
                for _ in trainer.frozen.reading(trainer.test_loader, pixels=True):
                    pass

        return prepare, read

    return {"decoded": way(0, False), "stored, cold": way(2**34, True), "stored, warm": way(2**34, False)}
