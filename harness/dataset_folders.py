"""Data sets that lie outside this checkout: each a folder that DATASET_PATH names (several with ":").

    dataset.yaml     what a file of configs/datasets/ says of others, in the keys of `SHAPE`; paths in the folder
    the images       anywhere below it, with a split file in CoOp's format or as train|val|test/<class>/<image>

The folder is the data root of its runs. Loader: datasets/image_folder.py.
"""

import hashlib
import os
import re
from collections.abc import Iterable
from typing import NamedTuple

from .edited import read_bytes
from .own_folder import Kind

FILE = "dataset.yaml"
SHAPE = {
    "name": str,  # in commands, tables and folders of results
    "images": str,  # the folder that a split file's paths start from, or that holds train, val and test
    "split": str,  # split file, {"train": [[path, label, class name], ...], "val": ..., "test": ...}
    "template": str,
    "classes": str,  # file of class names
    "shift_of": str,  # data set whose domain shift it is: its test images alone are read
}
MOST_BYTES = 2**30  # of a split file, which has 80 for each image
_KIND = Kind("data set", FILE, "DATASET_PATH", SHAPE, ("name",))


class DataSet(NamedTuple):
    """A data set outside this checkout."""

    name: str
    home: str  # its folder
    shift_of: str = ""

    @property
    def file(self) -> str:
        return os.path.join(self.home, FILE)


def read(path: str, known: Iterable[str]) -> dict[str, DataSet]:
    """{name: data set} of the folders in `path`, a value of DATASET_PATH.

    known: the names of this repository's. Raises UserError, naming the file and what is wrong in it.
    """
    taken = dict.fromkeys(known, "this repository")
    found = {}
    for folder in _KIND.folders(path):
        tree = _checked(folder)
        _KIND.take(folder, "name", tree["name"], taken)
        found[tree["name"]] = DataSet(tree["name"], folder, tree.get("shift_of", ""))
    for own in found.values():
        if own.shift_of and (own.shift_of not in taken or own.shift_of == own.name):
            raise _KIND.wrong(own.home, f"shift_of is {own.shift_of}, which is no other data set that is known here")
        if own.shift_of in found and found[own.shift_of].shift_of:
            raise _KIND.wrong(own.home, f"shift_of is {own.shift_of}, which is itself a domain shift: name its source")
    return found


def home_of(file: str) -> str:
    """The folder that a data set's file is in, if it is one of those outside; "" for one of configs/datasets/."""
    return os.path.dirname(os.path.abspath(file)) if os.path.basename(file) == FILE else ""


def name_of(file: str) -> str:
    """What a data set is called whose file that is. Raises UserError."""
    home = home_of(file)
    return str(_KIND.read(home)["name"]) if home else os.path.splitext(os.path.basename(file))[0]


def config_of(file: str) -> dict:
    """The config's sections that a dataset.yaml stands for, as a file of configs/datasets/ has them. Raises UserError.

    Its paths stay as they are, relative to the data root, so that the folder can be moved. OWN tells it from other
    folders, and from itself with another split file or other class names.
    """
    tree = _checked(home_of(file))
    own = f"{tree['name']} {_checksum(home_of(file), tree)}"
    keys = {"images": "IMAGE_FOLDER", "split": "SPLIT_FILE", "classes": "CLASS_NAMES", "template": "TEMPLATE"}
    named = {key: tree[name] for name, key in keys.items() if name in tree}
    loader = "ImageFolderShift" if tree.get("shift_of") else "ImageFolder"
    return {"DATASET": {"NAME": loader, "OWN": own, "IMAGE_FOLDER": ".", **named}}


def _checksum(folder, tree):
    """16 hexadecimal digits, of the files beside dataset.yaml that say what is an image's class."""
    digest = hashlib.sha256()
    for key in ("split", "classes"):
        path = os.path.join(folder, tree.get(key, ""))
        try:
            content = read_bytes(path, MOST_BYTES) if key in tree else b""
        except OSError as error:
            raise _KIND.wrong(folder, f"{key} names {path}, which cannot be read ({error.strerror})") from None
        digest.update(f"{key} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:16]


def _checked(folder):
    tree = _KIND.read(folder)
    name, template = tree["name"], tree.get("template", "{}")
    if not re.fullmatch(r"\w[\w-]*", name, re.ASCII):
        raise _KIND.wrong(folder, f"name is {name!r}, but must be letters, digits, _ and -, such as my_set")
    if template.count("{}") != 1:
        raise _KIND.wrong(folder, f"template is {template!r}, but must hold {{}} once, where the class name goes")
    for key, exists, what in (
        ("images", os.path.isdir, "folder"),
        ("split", os.path.isfile, "file"),
        ("classes", os.path.isfile, "file"),
    ):
        if key in tree and not exists(os.path.join(folder, tree[key])):
            raise _KIND.wrong(folder, f"{key} names {os.path.join(folder, tree[key])}, which is no {what}")
    images = os.path.join(folder, tree.get("images", ""))
    for part in () if "split" in tree else ("test",) if tree.get("shift_of") else ("train", "test"):
        if not os.path.isdir(os.path.join(images, part)):
            raise _KIND.wrong(folder, f"it has no split, so that {images} needs a folder {part}, but has none")
    return tree
