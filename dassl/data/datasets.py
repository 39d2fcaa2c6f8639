"""What a data set is, and the registry of data sets."""

import os.path as osp
import random
from collections import defaultdict

from dassl.data.classes import check_classes, warn_of_leaks, warn_of_same_names
from dassl.utils import Registry
from dassl.utils.errors import MissingFile, UserError

DATASET_REGISTRY = Registry("DATASET")


def build_dataset(cfg):
    """Build the data set called `cfg.DATASET.NAME`. Raises ValueError, with the known names, if none is."""
    cls = DATASET_REGISTRY.get(cfg.DATASET.NAME)
    if cfg.VERBOSE:
        print(f"Loading dataset: {cfg.DATASET.NAME}")
    return cls(cfg)


class Datum:
    """One image: its path, its label and domain (integers) and the name of its class.

    Raises FileNotFoundError if `impath` is not a file.
    """

    def __init__(self, impath="", label=0, domain=0, classname=""):
        if not osp.isfile(impath):
            raise MissingFile(f'image "{impath}" does not exist: check the data set\'s folder')
        self._impath = impath
        self._label = label
        self._domain = domain
        self._classname = classname

    @property
    def impath(self):
        return self._impath

    @property
    def label(self):
        return self._label

    @property
    def domain(self):
        return self._domain

    @property
    def classname(self):
        return self._classname


class DatasetBase:
    """Lists of `Datum`: train_x (labelled; it defines the classes), train_u (unlabelled), val and test.

    Raises ValueError if there is no training image, or a label or class name that `check_classes` refuses. Warns
    of classes that CLIP reads alike, and of images that are in train_x and in test.
    """

    dataset_dir = ""  # the data set's folder in DATASET.ROOT
    domains = []  # names of all domains
    shared_names = False  # whether two labels may have the same class name, as in CLIP's names for ImageNet

    def __init__(self, train_x=None, train_u=None, val=None, test=None):
        self._train_x = train_x
        self._train_u = train_u
        self._val = val
        self._test = test
        self._num_classes = self.get_num_classes(train_x)
        name = type(self).__name__
        check_classes({"train": train_x, "val": val, "test": test}, name, self.shared_names)
        self._lab2cname, self._classnames = self.get_lab2cname(train_x)
        warn_of_same_names(self._classnames, name)
        warn_of_leaks(train_x, test, name)

    @property
    def train_x(self):
        return self._train_x

    @property
    def train_u(self):
        return self._train_u

    @property
    def val(self):
        return self._val

    @property
    def test(self):
        return self._test

    @property
    def lab2cname(self):
        """Class name by label, a dictionary."""
        return self._lab2cname

    @property
    def classnames(self):
        """Class names in the order of their labels, a list."""
        return self._classnames

    @property
    def num_classes(self):
        return self._num_classes

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
        for key, domains in (("SOURCE_DOMAINS", source_domains), ("TARGET_DOMAINS", target_domains)):
            if not domains:
                raise UserError(f"DATASET.{key} is empty: choose from {', '.join(self.domains)}")
            self.is_input_domain_valid(domains)

    def is_input_domain_valid(self, input_domains):
        """Raise ValueError if one of `input_domains` is unknown to this data set."""
        for domain in input_domains:
            if domain not in self.domains:
                raise UserError(f'unknown domain "{domain}"; known: {", ".join(self.domains)}')

    def generate_fewshot_dataset(self, *data_sources, num_shots=-1, repeat=False):
        """Draw `num_shots` images of each class from each list, with Python's global random generator.

        Classes come in the order in which the list first shows them. A class with fewer images gives them
        all, or, with `repeat`, `num_shots` draws with replacement. `num_shots` below 1 returns the lists as
        they are.

        Returns one list for one `data_sources`, else a list of lists.
        """
        if num_shots < 1:
            return data_sources[0] if len(data_sources) == 1 else data_sources
        print(f"Creating a {num_shots}-shot dataset")
        output = []
        for data_source in data_sources:
            drawn = []
            for items in self.split_dataset_by_label(data_source).values():
                if len(items) >= num_shots:
                    items = random.sample(items, num_shots)
                elif repeat:
                    items = random.choices(items, k=num_shots)
                drawn.extend(items)
            output.append(drawn)
        return output[0] if len(output) == 1 else output

    def split_dataset_by_label(self, data_source):
        """Return the images by label, a dictionary of lists in first-seen order."""
        return _group(data_source, "label")

    def split_dataset_by_domain(self, data_source):
        """Return the images by domain, a dictionary of lists in first-seen order."""
        return _group(data_source, "domain")


def _group(data_source, attribute):
    groups = defaultdict(list)
    for item in data_source:
        groups[getattr(item, attribute)].append(item)
    return groups
