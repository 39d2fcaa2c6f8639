"""Which images lie in a tree of class folders, found without looking at each file, and remembered."""

import gc
import json
import os
import time

from dassl.data.datasets import Datum
from dassl.utils import UserError, read_json, write_whole
from dassl.utils.picture_files import is_picture_name

from .files import keep

CACHE = "image_list.json"
# Some file systems count a folder's time of change in steps of two seconds. A change in the step in which it was read
# would not show, so a folder that changed just before the reading is read again next time.
SETTLED_NS = 2_000_000_000


class ListedImage(Datum):
    """A Datum whose path comes from its folder's listing: making it does not look at the file.

    1.28 million such looks take seconds on a local disk and minutes on a network. An image that cannot be read
    is named when it is read.
    """

    def __post_init__(self):
        pass


def list_classes(folder, known=None):
    """List the images of each class folder in `folder`: {name: [time of change in ns, [image names, sorted]]}.

    Links to folders count as folders; hidden names, and files without an image's extension, are passed over.
    `known` is an earlier result: folders that have not changed since are taken from it.
    """
    known, now, listing = known or {}, time.time_ns(), {}
    with os.scandir(folder) as entries:
        folders = sorted((e.name, e.path) for e in entries if not e.name.startswith(".") and e.is_dir())
    for name, path in folders:
        changed = os.stat(path).st_mtime_ns  # before reading: what comes in between shows as a change
        if name in known and known[name][0] == changed:
            listing[name] = known[name]
        else:
            images = sorted(filter(is_picture_name, os.listdir(path)))
            listing[name] = [changed if now - changed > SETTLED_NS else -1, images]
    return listing


def list_parts(image_dir, parts, dataset_dir, output_dir):
    """`list_classes` of each folder in `parts`, kept as JSON beside the data set, or in `output_dir` if read-only."""
    known = _read_cache(dataset_dir, output_dir)
    listing = {part: list_classes(os.path.join(image_dir, part), known.get(part)) for part in parts}
    if listing != known:
        print(f"Listed the images below {image_dir}")

        def write(path):
            write_whole(path, lambda file: file.write(json.dumps(listing)))  # dump() is several times slower

        keep(write, CACHE, dataset_dir, output_dir, "the list of images")
    return listing


def _read_cache(dataset_dir, output_dir):
    for folder in (output_dir, dataset_dir):  # it is in output_dir only if dataset_dir could not be written to
        path = os.path.join(folder, CACHE)
        try:
            known = read_json(path)
            for classes in known.values():
                for changed, images in classes.values():
                    if not (isinstance(changed, int) and isinstance(images, list)):
                        raise TypeError("not a list of images")
            return known
        except FileNotFoundError:
            continue
        except (ValueError, TypeError, AttributeError):
            print(f"The list of images in {path} is damaged; it is made again")
    return {}


def labelled(folder, listing, classes):
    """The images of `classes`, (folder name, class name) in the order of labels. Raises ValueError if one has none."""
    items, collecting = [], gc.isenabled()
    gc.disable()  # a million new objects, none of them garbage: looking for some takes longer than making them
    try:
        for label, (name, classname) in enumerate(classes):
            path = os.path.join(folder, name)
            images = listing[name][1]
            if not images:
                raise UserError(f"{path} holds no image: unpack the data set again (DATASETS.md).")
            items += [ListedImage(f"{path}{os.sep}{image}", label, 0, classname) for image in images]
    finally:
        if collecting:
            gc.enable()
    return items
