"""The folders that runs write into: whether they can, whether there are locks, and whether there is room."""

import os
import shutil
from collections.abc import Iterator

from harness.running import lock
from harness.running.launch import there, try_writing

from .findings import FAULT, NOTE, OK, Finding

SEEDS = 3  # of a published table
# Numbers that SEP learns, the largest method, on ViT-B/16 and on shapes-tiny: 12 width^2 in each layer but the first
LEARNED, BUNDLED_LEARNED = 113_000_000, 1_100_000
BYTES = 2 * 4  # of each in a checkpoint, with its momentum
STORED_BYTES = 2 * 4 * 512  # of a test image's features, stored twice: in tests of all classes and of a half


def disks(data: str, output: str, datasets: int, test_images: int, learned: int = LEARNED) -> Iterator[Finding]:
    """data, output: folders, which need not be there. datasets, test_images: how many runs are to be made on.

    learned: numbers that the largest method learns.
    """
    place = there(output)
    try:
        try_writing(place)
        locks = lock.works_in(place)
    except OSError as error:
        reason = f"{place} cannot be written to ({error.strerror})"
        yield Finding(FAULT, "output", reason, "mend that, or set OUTPUT to another folder")
    else:
        if not locks:
            text = f"{place} is on a file system without locks, so two runs in one folder would not see each other"
            yield Finding(FAULT, "output", text, "set OUTPUT to a folder on another one")
        needs = (datasets * SEEDS + 1) * learned * BYTES  # one more while a checkpoint replaces another
        free = shutil.disk_usage(place).free
        what = f"SEP, whose runs are the largest, writes {_size(needs)} on these data sets with {SEEDS} seeds"
        if free < needs:
            yield Finding(FAULT, "output", f"{place} has {_size(free)} left, and {what}", "make room")
        elif locks:
            yield Finding(OK, "output", f"{output} can be written to and has locks and {_size(free)}; {what}")
    if os.path.isdir(data):
        yield _data(data, test_images)


def _data(data, test_images):
    try:
        try_writing(data)
        locks = lock.works_in(data)
    except OSError as error:
        text = f"{data} cannot be written to ({error.strerror}): few-shot samples, lists and features go below OUTPUT"
        return Finding(NOTE, "data root", text)
    if not locks:
        return Finding(NOTE, "data root", f"{data} is on a file system without locks; nothing here needs them")
    needs, free = test_images * STORED_BYTES, shutil.disk_usage(data).free
    if free < needs + 2**30:
        text = f"{data} has {_size(free)} left, too little for the image features ({_size(needs)}) that spare time"
        return Finding(NOTE, "data root", text, "make room, or set STORE to another folder")
    return Finding(OK, "data root", f"{data} can be written to and has locks and {_size(free)}")


def _size(n):
    return f"{n / 2**30:,.1f} GiB" if n >= 2**30 else f"{n / 2**20:.0f} MiB"
