"""ImageNet's list of files, 1.33 million of them."""

import contextlib
import io
import os
import sys
import tempfile
import time

from dassl.data.datasets import build_dataset
from trainers.run.record import peak_memory_mb

from .config import REPOSITORY, config_of
from .table import Table
from .timing import in_fresh_process

LIMITS = {"first": 20.0, "cached": 3.0}  # seconds
MEMORY_LIMIT = 1536  # MiB
N_CLASSES, IMAGES = 1_000, {"train": 1_281_167, "val": 50_000}


def add_arguments(parser):
    """None: files go below $TMPDIR."""


def measure(args):
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
