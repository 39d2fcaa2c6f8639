"""What a data set is: its images, as `Datum`s, and their lists."""

import os.path as osp
import random
from collections import defaultdict
from dataclasses import asdict, dataclass

from dassl.data.classes import check_classes, warn_of_leaks, warn_of_same_names
from dassl.utils import MissingFile, UserError


@dataclass(eq=False)
class Datum:
    """One image: its path, its label and domain (integers) and the name of its class.

    Raises FileNotFoundError if `impath` is not a file.
    """

    impath: str = ""
    label: int = 0
    domain: int = 0
    classname: str = ""

    def __post_init__(self):
        if not osp.isfile(self.impath):
            raise MissingFile(f'image "{self.impath}" does not exist: check the data set\'s folder')

    # Forks of CoOp pickle few-shot samples, in data roots that they share, as the original's Datum has its parts

    def __getstate__(self):
        return {f"_{name}": value for name, value in asdict(self).items()}

    def __setstate__(self, state):
        vars(self).update({name.lstrip("_"): value for name, value in state.items()})


@dataclass(eq=False, repr=False)
class DatasetBase:
    """Lists of `Datum`: train_x (labelled; it defines the classes), train_u (unlabelled), val and test.

    Beside them it has `num_classes`, `lab2cname` (class name by label, a dictionary) and `classnames` (a list in the
    order of labels).

    Raises ValueError if there is no training image, or a label or class name that `check_classes` refuses. Warns
    of classes that CLIP reads alike, and of images that are in train_x and in test.
    """

    train_x: list = None
    train_u: list = None
    val: list = None
    test: list = None

    dataset_dir = ""  # the data set's folder in DATASET.ROOT
    domains = ()  # names of all domains
    shared_names = False  # whether two labels may have the same class name, as in CLIP's names for ImageNet

    def __post_init__(self):
        name = type(self).__name__
        self.num_classes = self.get_num_classes(self.train_x)
        check_classes({"train": self.train_x, "val": self.val, "test": self.test}, name, self.shared_names)
        self.lab2cname, self.classnames = self.get_lab2cname(self.train_x)
        warn_of_same_names(self.classnames, name)
        warn_of_leaks(self.train_x, self.test, name)

    def keep_sample(self):
        """Called where a training on it begins: loaders write what they keep here, not of a run that is refused."""

    @staticmethod
    def get_num_classes(data_source):
        """Return the highest label plus one. Raises ValueError if there is no image."""
        if not data_source:
            raise UserError("the data set has no training images: check its folder and DATASET.NUM_SHOTS")
        return max(item.label for item in data_source) + 1

    @staticmethod
    def get_lab2cname(data_source):
        """Return the class name by label, and the class names in the order of their labels."""
        mapping = {item.label: item.classname for item in data_source}
        return mapping, [mapping[label] for label in sorted(mapping)]

    def check_input_domains(self, source_domains, target_domains):
        """Raise ValueError if a domain is unknown to this data set, or none is given."""
        for key, chosen in (("SOURCE_DOMAINS", source_domains), ("TARGET_DOMAINS", target_domains)):
            if not chosen:
                raise UserError(f"DATASET.{key} is empty: choose from {', '.join(self.domains)}")
            for domain in chosen:
                if domain not in self.domains:
                    raise UserError(f'unknown domain "{domain}"; known: {", ".join(self.domains)}')

    def generate_fewshot_dataset(self, *data_sources, num_shots=-1, repeat=False):
        """Draw `num_shots` images of each class from each list, with Python's global random generator.

        Classes come in the order in which the list first shows them. A class with fewer images gives them
        all, or, with `repeat`, `num_shots` draws with replacement. `num_shots` below 1 returns the lists as
        they are.

        Returns one list for one `data_sources`, else several.
        """
        drawn = data_sources
        if num_shots >= 1:
            print(f"Creating a {num_shots}-shot dataset")
            drawn = [self._draw(images, num_shots, repeat) for images in data_sources]
        return drawn[0] if len(drawn) == 1 else drawn

    def _draw(self, data_source, num_shots, repeat):
        drawn = []
        for items in self.split_dataset_by_label(data_source).values():
            if len(items) >= num_shots:
                drawn += random.sample(items, num_shots)
            else:
                drawn += random.choices(items, k=num_shots) if repeat else items
        return drawn

    def split_dataset_by_label(self, data_source):
        """Return the images by label, a dictionary of lists in first-seen order."""
        groups = defaultdict(list)
        for item in data_source:
            groups[item.label].append(item)
        return groups
