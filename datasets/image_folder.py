"""Your own images: a split file, or any tree `train|val|test/<class name>/<image>`, alone or once per domain."""

import os
import unicodedata

from dassl.config.defaults import _C
from dassl.data.classes import check_classes
from dassl.data.datasets import DATASET_REGISTRY, DatasetBase, Datum
from dassl.utils import MissingFile, UserError, read_lines
from dassl.utils.picture_files import ENDINGS, say_passed_over, scan

from .few_shot import data_root, draw_few_shot, read_split, subsample_classes
from .split import warn_of_best_val

RECORDS = "split_fewshot"  # folder of the few-shot samples, in the tree
# What else may lie in a data set that scripts know by its folder: its file (harness/dataset_folders.py), and the stored
# features of its images (STORE.DIR), as the folder is the data root
BESIDE = ("dataset.yaml", "feature_store")

if "IMAGE_FOLDER" not in _C.DATASET:
    _C.DATASET.IMAGE_FOLDER = "image_folder"  # the tree, below DATASET.ROOT
    _C.DATASET.SPLIT_FILE = ""  # split file in CoOp's format, below DATASET.ROOT; its paths start from IMAGE_FOLDER
    _C.DATASET.CLASS_NAMES = ""  # file below DATASET.ROOT of lines "<folder, or class in the split file> <class name>"
    _C.DATASET.OWN = ""  # set by a data set's own dataset.yaml: its name, and a checksum of its files of labels


@DATASET_REGISTRY.register()
class ImageFolder(DatasetBase):
    """Class names are folder names, labels their alphabetical order; every split must have the same classes.

    With `DATASET.SPLIT_FILE`, images, labels and class names are those of the file, and there are no domains.
    `DATASET.CLASS_NAMES` names the classes in words; their labels, and so which are base or new, stay.

    Without `DATASET.SOURCE_DOMAINS` the tree is `<folder>/train|val|test/<class>/<image>`. With it, it is
    `<folder>/<domain>/train|val|test/<class>/<image>`: `train` and `val` are read from the source domains,
    `test` from `DATASET.TARGET_DOMAINS` (or the source domains again); `Datum.domain` indexes `self.domains`.
    `val` is optional: where there is none, `self.val` is None. Hidden files are passed over. So is all else that is
    not an image at such a place, which is said.

    Raises FileNotFoundError for a missing folder, and ValueError for a class without images, for classes that
    differ between two splits, for a config that needs a `val` where there is none, for target domains without source
    domains, for a damaged split file, and for a file of class names that lacks one.
    """

    parts = ("train", "val", "test")  # that are read

    def __init__(self, cfg):
        root = data_root(cfg)
        self.dataset_dir = os.path.normpath(os.path.join(root, cfg.DATASET.IMAGE_FOLDER))
        if cfg.DATASET.SPLIT_FILE:
            *parts, record_dir = self._of_split_file(cfg, os.path.join(root, cfg.DATASET.SPLIT_FILE))
        else:
            *parts, record_dir = self._of_tree(cfg)
        if cfg.DATASET.CLASS_NAMES:
            parts = _renamed(os.path.join(root, cfg.DATASET.CLASS_NAMES), *parts)
        self.set_up(cfg, *parts, record_dir)

    def set_up(self, cfg, train, val, test, record_dir):
        """Draw the samples, which are kept below dataset_dir, and halve the classes."""
        train, val = draw_few_shot(self, train, val, cfg, self.dataset_dir, record_dir)
        train, val, test = subsample_classes(train, val, test, subsample=cfg.DATASET.SUBSAMPLE_CLASSES)
        super().__init__(train_x=train, val=val, test=test)

    def _of_split_file(self, cfg, path):
        if cfg.DATASET.SOURCE_DOMAINS or cfg.DATASET.TARGET_DOMAINS:
            raise UserError(f"Domains are given, but the split file {path} has none: leave out one of them.")
        found = dict(zip(("train", "val", "test"), read_split(path, self.dataset_dir)))
        self.dataset_dir = os.path.dirname(path)  # where CoOp keeps the samples, beside the split file
        for part in self.parts:
            if not found[part] and part != "val":
                raise UserError(f"The split file {path} has no image in {part}: add some.")
        self._need_val(cfg, found["val"], f"The split file {path} has no image in val")
        return found["train"], found["val"] or None, found["test"], RECORDS

    def _of_tree(self, cfg):
        sources, targets = list(cfg.DATASET.SOURCE_DOMAINS), list(cfg.DATASET.TARGET_DOMAINS)
        if targets and not sources:
            raise UserError("Target domains are given without source domains: give both, or neither.")
        self.domains = list(dict.fromkeys(sources + targets))
        self._passed_over = []  # paths

        sources = sources or [""]  # "": the tree itself
        reference = self._folder(sources[0], self.parts[0])  # its classes must be those of all other folders
        train = self._read("train", sources, reference) if "train" in self.parts else []
        has_val = "val" in self.parts and any(os.path.isdir(self._folder(domain, "val")) for domain in sources)
        self._need_val(cfg, has_val, f"{self.dataset_dir} has no val folder")
        val = self._read("val", sources, reference) if has_val else None
        test = self._read("test", targets or sources, reference)
        self._say_passed_over({*sources, *targets}, os.path.basename(cfg.DATASET.CLASS_NAMES))

        # Each choice of source domains has samples of its own.
        return train, val, test, os.path.join(RECORDS, "+".join(sources))

    def _need_val(self, cfg, has_val, lack):
        if "val" in self.parts and not has_val and (cfg.TEST.FINAL_MODEL == "best_val" or cfg.TEST.SPLIT == "val"):
            raise UserError(  # Dassl would take the test images instead
                f"{lack}, which TEST.FINAL_MODEL best_val and TEST.SPLIT val need: add one, or use last_step and test."
            )

    def _folder(self, domain, split):
        return os.path.join(self.dataset_dir, domain, split)

    def _read(self, split, domains, reference):
        """All images of `split` in `domains`, in the order of domains, classes and file names."""
        names = _class_names(reference)
        items = []
        for domain in domains:
            folder = self._folder(domain, split)
            _check_same(names, reference, _class_names(folder), folder)
            pictures, _, others = scan(folder)
            self._passed_over += pictures + others
            index = self.domains.index(domain) if domain else 0
            for label, name in enumerate(names):
                place = os.path.join(folder, name)
                found, *others = scan(place)
                images = [image for image in found if os.path.isfile(image)]
                if not images:
                    raise UserError(f"{place} holds no image ({', '.join(ENDINGS)}): add some, or remove the class.")
                broken_links = set(found) - set(images)
                self._passed_over += [*sum(others, []), *broken_links]
                items += [Datum(image, label=label, domain=index, classname=name) for image in images]
        return items

    def _say_passed_over(self, domains, class_names):
        known = ("train", "val", "test", RECORDS, *BESIDE, class_names)
        for domain in domains:
            found = sum(scan(os.path.join(self.dataset_dir, domain)), [])
            self._passed_over += [path for path in found if os.path.basename(path) not in known]
        rule = "only train|val|test/<class name>/<image> is read, an image being one of"
        say_passed_over(self.dataset_dir, self._passed_over, rule)


@DATASET_REGISTRY.register()
class ImageFolderShift(ImageFolder):
    """Test images alone, for models that were trained on another data set: see `split.TestOnlyDataset`."""

    parts = ("test",)

    def set_up(self, cfg, train, val, test, record_dir):
        if cfg.DATASET.SUBSAMPLE_CLASSES != "all":
            raise UserError(
                f"{self.dataset_dir}, a domain shift, is tested on all of its classes: set "
                "DATASET.SUBSAMPLE_CLASSES to all."
            )
        warn_of_best_val(self.dataset_dir, cfg)
        DatasetBase.__init__(self, train_x=test, val=test, test=test)


def read_class_names(path):
    """{folder, or class in a split file: class name} of lines "<one> <other>".

    A tab may stand between the two where the first has spaces. Raises UserError, with the line.
    """
    names = {}
    for number, line in read_lines(path):
        key, _, name = line.partition("\t") if "\t" in line else line.partition(" ")
        if not name.strip() or key.strip() in names:
            problem = f"names {key.strip()} again" if name.strip() else "has no class name behind that of the class"
            raise UserError(f'{path}, line {number}, {problem}: write one line a class, such as "n01440764 tench".')
        names[key.strip()] = name.strip()
    return names


def _renamed(path, *parts):
    """The parts of a data set with the class names of a file, which may have more of them."""
    names = read_class_names(path)
    lacking = sorted({item.classname for part in parts for item in part or ()} - names.keys())
    if lacking:
        some = ", ".join(lacking[:5]) + (f" and {len(lacking) - 5} more" if len(lacking) > 5 else "")
        raise UserError(f"The file of class names {path} has no line for {some}: add it.")
    renamed = [
        part and [Datum(item.impath, item.label, item.domain, names[item.classname]) for item in part] for part in parts
    ]
    check_classes({"the images": [item for part in renamed for item in part or ()]}, f"With {path} the data set")
    return renamed


def _class_names(folder):
    if not os.path.isdir(folder):
        raise MissingFile(
            f"The folder {folder} does not exist: lay the images out as train|val|test/<class name>/<image>, "
            "below the folder of each domain if DATASET.SOURCE_DOMAINS names any."
        )
    names = [os.path.basename(path) for path in scan(folder)[1]]
    if not names:
        raise UserError(f"{folder} holds no class folder: put the images in {folder}/<class name>/.")
    return names


def _check_same(names, folder, other_names, other_folder):
    differences = [
        f"only {where} has {', '.join(sorted(only))}"
        for where, only in (
            (folder, set(names) - set(other_names)),
            (other_folder, set(other_names) - set(names)),
        )
        if only
    ]
    if differences:
        same = {unicodedata.normalize("NFC", name) for name in names} == {
            unicodedata.normalize("NFC", name) for name in other_names
        }
        hint = (
            " (the names look the same, but write accents in two Unicode forms: copy one to the other)" if same else ""
        )
        raise UserError(f"The classes of {folder} and {other_folder} must not differ: {'; '.join(differences)}{hint}.")
