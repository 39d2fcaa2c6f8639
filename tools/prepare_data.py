"""Get the public data sets, and see what is there.

    python tools/prepare_data.py list                   what is there, and how to get the rest
    python tools/prepare_data.py get caltech101 dtd     download, verify, unpack and lay out; `get all` takes all
    python tools/prepare_data.py check caltech101       count every class against the split, decode a sample

The folder of the data sets is --root, or DATA in the environment, or data in the checkout. An interrupted get goes on
where it was when it is run again. Exit code: 0 all is well; 1 something is missing or wrong; 2 wrong arguments.
"""

import argparse
import contextlib
import difflib
import functools
import importlib
import io
import os
import random
import shutil
import sys
import tempfile
from collections import Counter, defaultdict

REPOSITORY = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir))
sys.path.insert(0, REPOSITORY)

import filelock  # noqa: E402
import yaml  # noqa: E402
from tabulate import tabulate  # noqa: E402
from tqdm import tqdm  # noqa: E402

from dassl.config import get_cfg_default  # noqa: E402
from dassl.data.datasets import DATASET_REGISTRY  # noqa: E402
from dassl.utils import read_image  # noqa: E402
from datasets.files import GUIDE, step_for, write_whole  # noqa: E402
from datasets.imagenet import CLASSNAMES, ImageNet, ImageNetVariant  # noqa: E402
from datasets.listing import IMG_EXTENSIONS, ListedImage  # noqa: E402
from tools import downloads  # noqa: E402

NAMES = (
    "imagenet caltech101 oxford_pets stanford_cars oxford_flowers food101 fgvc_aircraft sun397 dtd eurosat ucf101 "
    "imagenetv2 imagenet_sketch imagenet_a imagenet_r"
).split()
BY_HAND = "imagenet"  # its images are for registered users only
PARTS = ("train", "val", "test")
WORK = ".download"  # in the data set's folder: what has come of it so far; hidden, so that no loader sees it
SHOWN = 5  # of a list of wrong files


@functools.cache
def loader_of(name):
    importlib.import_module(f"datasets.{name}")  # registers it
    with open(os.path.join(REPOSITORY, "configs", "datasets", f"{name}.yaml"), encoding="utf-8") as file:
        return DATASET_REGISTRY.get(yaml.safe_load(file)["DATASET"]["NAME"])


class Found:
    """What is there of a data set, by the facts of its loader; no image is opened.

    Attributes:
        name, loader, folder: as in configs/datasets/, its class, and where it is.
        absent: the loader's files and folders that are not there.
        problem: the sentence with which the loader refuses it, or "".
        items: {part: list of images}, those of the split; empty if it cannot be read.
        missing: the split's images that are not there; paths in `folder`.
        sizes: phrases for every number that is not as published.
    """

    def __init__(self, name, root):
        cfg = get_cfg_default()
        cfg.DATASET.ROOT = root
        self.name, self.loader = name, loader_of(name)
        dataset = self.loader.__new__(self.loader)
        dataset.locate(cfg)
        self.folder, self.images = dataset.dataset_dir, dataset.image_dir
        self.items, self.missing, self.sizes, self.problem = {}, [], [], ""
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
            phrases.append(f"no {_some(self.missing)}")
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
        there = (path for path in _walk(self.images) if path.lower().endswith(IMG_EXTENSIONS))
        return sorted(os.path.relpath(path, self.folder) for path in there if path not in named)


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


def _some(names):
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _table(rows, headers):
    print(tabulate(rows, headers, tablefmt="github", disable_numparse=True))


# ---- list --------------------------------------------------------------------------------------------------


def list_all(root):
    rows = []
    for name in NAMES:
        found = Found(name, root)
        how = f"by hand: DATASETS.md, {found.loader.__name__}" if name == BY_HAND else f"get {name}"
        lacks = "; ".join(found.lacks) if found.state == "incomplete" else ""
        rows.append([name, found.state, lacks, found.folder, "" if found.state == "complete" else how])
    _table(rows, ["name", "state", "what is missing", "folder", "how to get it"])
    print("The data sets named shapes are drawn at first use.")
    return 0


# ---- check -------------------------------------------------------------------------------------------------


def check(names, root, sample, show_classes):
    found = [Found(name, root) for name in names or NAMES]
    if not names:
        found = [f for f in found if f.state != "absent"]
        if not found:
            print(f"error: {root} holds none of the data sets: get one with tools/prepare_data.py get", file=sys.stderr)
            return 1
    rows, problems = [], []
    for f in found:
        rows.append(_check_one(f, sample, problems))
        classes = _class_rows(f, show_classes)
        if classes:
            print(f"{f.loader.__name__}: images by class")
            _table(classes, ["label", "class", *PARTS])
            print()
    _table(rows, ["data set", "classes", *PARTS, "missing", "not in the split", "decoded", "result"])
    for problem in problems:
        print(problem)
    return 1 if problems else 0


def _check_one(found, sample, problems):
    """The row of a data set; adds sentences to `problems`."""
    name = found.loader.__name__
    before = len(problems)
    if found.state == "absent":
        problems.append(f"{name}: {found.folder} does not hold it.")
    else:
        problems += [f"{name}: {phrase.rstrip('.')}." for phrase in found.lacks]
    decoded, damaged = _decode(found, sample)
    problems += [f"{name}: {sentence}." for sentence in damaged]
    classes = len({item.label for items in found.items.values() for item in items})
    sizes = [f"{len(found.items[part]):,}" if part in found.items else "–" for part in PARTS]
    counts = [f"{len(found.missing):,}", f"{len(found.extra()):,}" if found.items else "–", f"{decoded:,}"]
    return [name, f"{classes:,}", *sizes, *counts, "wrong" if len(problems) > before else "right"]


def _class_rows(found, every):
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


def _decode(found, sample):
    """Decode `sample` images of every class, the same ones each time: (how many, sentences on damaged ones)."""
    missing = {os.path.join(found.folder, path) for path in found.missing}
    by_label = defaultdict(dict)  # a dict, since an image may be in two parts
    for items in found.items.values():
        for item in items:
            if item.impath not in missing:
                by_label[item.label][item.impath] = None
    rng = random.Random(0)
    chosen = [path for images in by_label.values() for path in rng.sample(list(images), min(sample, len(images)))]
    damaged = []
    for path in tqdm(chosen, desc=f"Decoding {found.name}", unit="image", leave=False):
        try:
            read_image(path)
        except (ValueError, FileNotFoundError) as e:
            damaged.append(str(e))
    return len(chosen) - len(damaged), damaged


# ---- get ---------------------------------------------------------------------------------------------------


def get(names, root, source):
    os.makedirs(root, exist_ok=True)
    return max([_get_one(name, root, source) for name in names])


def _get_one(name, root, source):
    found = Found(name, root)
    if found.wanted:
        work = os.path.join(found.folder, WORK)  # so on the disk of the data set, even if that is a link
        os.makedirs(work, exist_ok=True)
        try:
            with filelock.FileLock(os.path.join(work, "lock"), timeout=0):
                for attempt in _sources(found, source):
                    if found.wanted:
                        attempt(found, root, work)
                        found = Found(name, root)
        except filelock.Timeout:
            raise ValueError(f"{found.folder} is being filled by another process: wait for it") from None
        if not found.wanted or set(os.listdir(work)) <= {"lock"}:
            shutil.rmtree(work)
    title = found.loader.__name__
    if found.state == "complete":
        print(f"{title} is complete in {found.folder}")
        return 0
    print(f"{title} in {found.folder} is {found.state}: {'; '.join(found.lacks)}")
    if found.problem and not found.wanted:
        print("Remove the file that is damaged, then run this again.")
    for line, text in sorted({_step(found, missing) for missing in found.wanted}):
        print(f"By hand (DATASETS.md, line {line}): {text}")
    return 1


def _sources(found, source):
    """The ways to get it, in the order in which they are tried."""
    ways = {"mirror": _from_mirror, "original": _from_original}
    if source:
        return [_share_classnames, ways[source]]
    if found.name == BY_HAND or not any(os.path.splitext(name)[1] == "" for name in found.wanted):
        # only files such as the split are missing: the mirror has them too, but in an archive with all images
        return [_share_classnames, _from_original, *([] if found.name == BY_HAND else [_from_mirror])]
    return [_share_classnames, _from_mirror, _from_original]


def _share_classnames(found, root, work):
    """ImageNet and its variants have the same file of class names; one is copied from whichever has it."""
    if CLASSNAMES not in found.absent:
        return
    folders = [loader_of(name).dataset_dir for name in NAMES if CLASSNAMES in loader_of(name).files()]
    paths = [path for path in (os.path.join(root, folder, CLASSNAMES) for folder in folders) if os.path.isfile(path)]
    if paths:
        with open(paths[0], encoding="utf-8") as file:
            text = file.read()
        write_whole(os.path.join(found.folder, CLASSNAMES), lambda target: target.write(text))


def _from_mirror(found, root, work):
    with _failure_is_said():
        _install(downloads.on_mirror(found.loader.dataset_dir), found, found.wanted, work)


def _from_original(found, root, work):
    for _, text in dict.fromkeys(_step(found, name) for name in found.wanted):
        remote = downloads.in_step(text)
        if remote:
            names = [name for name in found.wanted if _step(found, name)[1] == text]
            with _failure_is_said():
                _install(remote, found, names, work)


def _step(found, name):
    """(line, text) of the step of DATASETS.md that gets a file; class names always come from ImageNet's."""
    return step_for("ImageNet" if name == CLASSNAMES else found.loader.__name__, name, GUIDE)


def _install(remote, found, names, work):
    path = downloads.fetch(remote, work)
    if remote.name in names:
        os.replace(path, os.path.join(found.folder, remote.name))
        return
    tree = os.path.join(work, "unpacked")
    downloads.unpack(path, tree)
    if not downloads.lay_out(tree, found.folder, names):
        print(f"{remote.name} holds none of {', '.join(names)}")
    shutil.rmtree(tree)


@contextlib.contextmanager
def _failure_is_said():
    """Print why a source failed, so that the next one is tried; a full or read-only disk would fail for all."""
    try:
        yield
    except (ValueError, OSError) as e:
        if isinstance(e, OSError) and e.errno is not None:
            raise
        print(f"{str(e).rstrip('.')}.")


# ---- command line ------------------------------------------------------------------------------------------


def known(name):
    """The name in configs/datasets/ of what a user may call Caltech101, caltech-101 or caltech101."""
    for candidate in NAMES:
        loader = loader_of(candidate)
        if downloads.plain(name) in map(downloads.plain, (candidate, loader.__name__, loader.dataset_dir)):
            return candidate
    near = difflib.get_close_matches(name.lower(), NAMES, n=3, cutoff=0)
    raise ValueError(f'There is no data set "{name}"; the nearest are {", ".join(near)} (list shows all).')


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = argparse.ArgumentParser(add_help=False)
    root.add_argument("--root", default=os.environ.get("DATA") or os.path.join(REPOSITORY, "data"), metavar="DATA")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", parents=[root], help="what is there, what is missing, and how to get it")
    command = commands.add_parser("check", parents=[root], help="count every class against the split, decode a sample")
    command.add_argument("names", nargs="*", metavar="NAME", help="data sets; without any, all that are there")
    command.add_argument("--sample", type=int, default=3, help="images of each class to decode (default: 3)")
    command.add_argument("--classes", action="store_true", help="show every class, not only those that lack images")
    command = commands.add_parser("get", parents=[root], help="download, verify, unpack and lay out")
    command.add_argument("names", nargs="+", metavar="NAME", help="data sets, or all")
    command.add_argument("--source", choices=["mirror", "original"], help="only from there (default: both, in turn)")
    args = parser.parse_args(argv)

    root = os.path.abspath(os.path.expanduser(args.root))
    try:
        names = getattr(args, "names", [])
        names = NAMES if names == ["all"] else [known(name) for name in names]
    except ValueError as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    try:
        if args.command == "get":
            return get(names, root, args.source)
        return list_all(root) if args.command == "list" else check(names, root, args.sample, args.classes)
    except KeyboardInterrupt:
        print("\ninterrupted; what has come is kept, and the same command goes on from there", file=sys.stderr)
        return 130
    except (ValueError, OSError) as e:
        where = f": {e.filename}" if isinstance(e, OSError) and e.errno and e.filename else ""
        print(f"error: {e.strerror if where else e}{where}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
