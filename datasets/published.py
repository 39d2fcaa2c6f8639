"""Whether the images of a run are the published ones: CoOp's split files, and the few-shot samples of them.

CoOp's split files are known by their git blob ids (`sources.yaml`). `published_samples.json` has the samples of ten
data sets for 1, 2, 4, 8 and 16 shots and seeds 1 to 3, as `linzhiqiu/cross_modal_adaptation` (commit ac9077e, MIT
licence) publishes them, and as CoOp's sampling draws them: {data set: {"shots-seed": [training, validation]}}, of each
the first 16 digits of the SHA-256 of its lines "path<TAB>label<NEWLINE>" in their order; paths from the data set's
folder.
"""

import functools
import hashlib
import json
import os

from .sources import step_for, steps

COOP, BUILT, ANOTHER = "coop", "built here", "another"
SAMPLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "published_samples.json")
_DIGITS = 16  # of a SHA-256


def split_origin(dataset, path):
    """(COOP, BUILT or ANOTHER, a sentence) of the split of a public data set; None of any other data set.

    path: of its split file; "" where the loader reads the data set's own lists or folders (BUILT), as CoOp's does.
    """
    if dataset not in steps():
        return None
    if not path:
        return BUILT, "The split is built here from the data set's own lists or folders, as CoOp's loader builds it"
    name, blob = os.path.basename(path), git_blob_id(path)
    coops = getattr(step_for(dataset, os.path.basename(path)), "blob", None)
    if blob == coops:
        return COOP, f"The split is CoOp's own, {name}"
    return ANOTHER, (
        f"The split is another than CoOp's: {name} has the git blob id {blob[:12]}, not {str(coops)[:12]}, so "
        "that results do not compare to published ones"
    )


def git_blob_id(path):
    """40 hexadecimal digits, as of `git hash-object`."""
    with open(path, "rb") as file:
        content = file.read()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def sample_origin(dataset, train, val, shots, seed, dataset_dir):
    """What a record says of a few-shot sample; "" where none is published.

    train, val: lists of Datum of all classes, as drawn; None for val: it has none.
    """
    known = _samples().get(dataset, {}).get(f"{shots}-{seed}")
    if known is None:
        return ""
    same = [sample_digest(items or (), dataset_dir) for items in (train, val)] == known
    return f"{COOP if same else ANOTHER}, shots {shots}, seed {seed}"


def sample_digest(items, dataset_dir):
    lines = [f"{os.path.relpath(i.impath, dataset_dir).replace(os.sep, '/')}\t{i.label}\n" for i in items]
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()[:_DIGITS]


@functools.cache
def _samples():
    with open(SAMPLES, encoding="utf-8") as file:
        return json.load(file)
