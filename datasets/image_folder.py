"""Your own images: any tree `train|val|test/<class name>/<image>`, alone or once per domain."""

import os
import unicodedata

from dassl.config.defaults import _C
from dassl.data.datasets import DATASET_REGISTRY, DatasetBase, Datum
from dassl.utils import MissingFile, UserError
from dassl.utils.picture_files import ENDINGS, say_passed_over, scan

from .few_shot import data_root, draw_few_shot, subsample_classes

RECORDS = "split_fewshot"  # folder of the few-shot samples, in the tree

if "IMAGE_FOLDER" not in _C.DATASET:
    _C.DATASET.IMAGE_FOLDER = "image_folder"  # the tree, below DATASET.ROOT


@DATASET_REGISTRY.register()
class ImageFolder(DatasetBase):
    """Class names are folder names, labels their alphabetical order; every split must have the same classes.

    Without `DATASET.SOURCE_DOMAINS` the tree is `<folder>/train|val|test/<class>/<image>`. With it, it is
    `<folder>/<domain>/train|val|test/<class>/<image>`: `train` and `val` are read from the source domains,
    `test` from `DATASET.TARGET_DOMAINS` (or the source domains again); `Datum.domain` indexes `self.domains`.
    `val` is optional: where there is none, `self.val` is None. Hidden files are passed over. So is all else that is
    not an image at such a place, which is said.

    Raises FileNotFoundError for a missing folder, and ValueError for a class without images, for classes that
    differ between two splits, for a config that needs a `val` where there is none, and for target domains
    without source domains.
    """

    def __init__(self, cfg):
        self.dataset_dir = os.path.join(data_root(cfg), cfg.DATASET.IMAGE_FOLDER)
        sources, targets = list(cfg.DATASET.SOURCE_DOMAINS), list(cfg.DATASET.TARGET_DOMAINS)
        if targets and not sources:
            raise UserError("Target domains are given without source domains: give both, or neither.")
        self.domains = list(dict.fromkeys(sources + targets))
        self._passed_over = []  # paths

        sources = sources or [""]  # "": the tree itself
        reference = self._folder(sources[0], "train")  # its classes must be those of all other folders
        train = self._read("train", sources, reference)
        has_val = any(os.path.isdir(self._folder(domain, "val")) for domain in sources)
        if not has_val and (cfg.TEST.FINAL_MODEL == "best_val" or cfg.TEST.SPLIT == "val"):
            raise UserError(  # Dassl would take the test images instead
                f"{self.dataset_dir} has no val folder, which TEST.FINAL_MODEL best_val and TEST.SPLIT val "
                "need: add one, or use last_step and test."
            )
        val = self._read("val", sources, reference) if has_val else None
        test = self._read("test", targets or sources, reference)
        self._say_passed_over({*sources, *targets})

        # Each choice of source domains has samples of its own.
        record_dir = os.path.join(RECORDS, "+".join(sources))
        train, val = draw_few_shot(self, train, val, cfg, self.dataset_dir, record_dir)
        train, val, test = subsample_classes(train, val, test, subsample=cfg.DATASET.SUBSAMPLE_CLASSES)
        super().__init__(train_x=train, val=val, test=test)

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

    def _say_passed_over(self, domains):
        known = ("train", "val", "test", RECORDS)
        for domain in domains:
            found = sum(scan(os.path.join(self.dataset_dir, domain)), [])
            self._passed_over += [path for path in found if os.path.basename(path) not in known]
        rule = "only train|val|test/<class name>/<image> is read, an image being one of"
        say_passed_over(self.dataset_dir, self._passed_over, rule)


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
