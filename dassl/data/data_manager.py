"""From a data set's lists of paths to batches of images."""

import functools
import multiprocessing
from multiprocessing.context import get_spawning_popen

import torch
import torchvision.transforms as T
from torch.utils.data import DataLoader, Dataset

from dassl.data.datasets import build_dataset
from dassl.data.samplers import build_sampler
from dassl.data.transforms import build_transform, get_interpolation, normalization
from dassl.utils import SCALED, read_image
from dassl.utils.errors import UserError


def build_data_loader(
    cfg,
    sampler_type="SequentialSampler",
    data_source=None,
    batch_size=64,
    n_domain=0,
    n_ins=2,
    tfm=None,
    is_train=True,
    dataset_wrapper=None,
):
    """Build a loader of batches (dictionaries, see `DatasetWrapper`) from a list of `Datum`.

    An epoch's order and augmentations depend only on the states of the global random generators when it
    starts: PyTorch seeds the workers' generators (Python's, NumPy's and its own) from its global one.

    Args:
        n_domain: domains per batch (RandomDomainSampler).
        n_ins: images per class in a batch (RandomClassSampler).
        tfm: transform or list of transforms, see `DatasetWrapper`.
        is_train: drop the last batch if it is not full (unless it is the only one).
        dataset_wrapper: class to use instead of `DatasetWrapper`.

    Raises ValueError if there is no image or no batch, or for an unknown sampler.
    """
    if not data_source:
        raise UserError(
            f"{cfg.DATASET.NAME} has no images to {'train on' if is_train else 'test on'}: check its folder"
        )
    sampler = build_sampler(
        sampler_type, cfg=cfg, data_source=data_source, batch_size=batch_size, n_domain=n_domain, n_ins=n_ins
    )
    wrapper = dataset_wrapper or DatasetWrapper
    loader = DataLoader(
        wrapper(cfg, data_source, transform=tfm, is_train=is_train),
        batch_size=batch_size,
        sampler=sampler,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        drop_last=is_train and len(data_source) >= batch_size,
        pin_memory=torch.cuda.is_available() and cfg.USE_CUDA,
    )
    if len(loader) == 0:
        raise UserError(f"{sampler_type} fills no batch of {batch_size} from {cfg.DATASET.NAME}: lower it (BATCH_SIZE)")
    return loader


class DataManager:
    """The data set of a config and its loaders: train_loader_x, train_loader_u, val_loader, test_loader.

    The second and third are None if the data set has no such images.

    Args:
        custom_tfm_train, custom_tfm_test: transforms to use instead of the config's.
        dataset_wrapper: class to use instead of `DatasetWrapper`.

    Raises ValueError if there is only one class, or nothing to train or to test on.
    """

    def __init__(self, cfg, custom_tfm_train=None, custom_tfm_test=None, dataset_wrapper=None):
        _say_once.cache_clear()
        dataset = build_dataset(cfg)
        if dataset.num_classes < 2:
            raise UserError(
                f'{cfg.DATASET.NAME} has one class only ("{dataset.classnames[0]}"), and so nothing to tell apart: '
                "add classes, or use all of them (DATASET.SUBSAMPLE_CLASSES all)"
            )
        tfm_train = self._transform(cfg, custom_tfm_train, is_train=True)
        tfm_test = self._transform(cfg, custom_tfm_test, is_train=False)
        loaders = cfg.DATALOADER

        def train_loader(data_source, node):
            return build_data_loader(
                cfg,
                sampler_type=node.SAMPLER,
                data_source=data_source,
                batch_size=node.BATCH_SIZE,
                n_domain=node.N_DOMAIN,
                n_ins=node.N_INS,
                tfm=tfm_train,
                is_train=True,
                dataset_wrapper=dataset_wrapper,
            )

        def test_loader(data_source):
            return build_data_loader(
                cfg,
                sampler_type=loaders.TEST.SAMPLER,
                data_source=data_source,
                batch_size=loaders.TEST.BATCH_SIZE,
                tfm=tfm_test,
                is_train=False,
                dataset_wrapper=dataset_wrapper,
            )

        self.dataset = dataset
        node_u = loaders.TRAIN_X if loaders.TRAIN_U.SAME_AS_X else loaders.TRAIN_U
        self.train_loader_x = train_loader(dataset.train_x, loaders.TRAIN_X)
        self.train_loader_u = train_loader(dataset.train_u, node_u) if dataset.train_u else None
        self.val_loader = test_loader(dataset.val) if dataset.val else None
        self.test_loader = test_loader(dataset.test)

        self._num_classes = dataset.num_classes
        self._num_source_domains = len(cfg.DATASET.SOURCE_DOMAINS)
        self._lab2cname = dataset.lab2cname
        if cfg.VERBOSE:
            self.show_dataset_summary(cfg)

    @staticmethod
    def _transform(cfg, custom, is_train):
        if custom is None:
            return build_transform(cfg, is_train=is_train)
        print(f"* Using custom transform for {'training' if is_train else 'testing'}")
        return custom

    @property
    def num_classes(self):
        return self._num_classes

    @property
    def num_source_domains(self):
        return self._num_source_domains

    @property
    def lab2cname(self):
        return self._lab2cname

    def show_dataset_summary(self, cfg):
        """Print a table of the data set's name, domains and sizes."""
        table = [["Dataset", cfg.DATASET.NAME]]
        for title, domains in (
            ("Source", cfg.DATASET.SOURCE_DOMAINS),
            ("Target", cfg.DATASET.TARGET_DOMAINS),
        ):
            if domains:
                table.append([title, domains])
        table.append(["# classes", f"{self.num_classes:,}"])
        for split in ("train_x", "train_u", "val", "test"):
            items = getattr(self.dataset, split)
            if items:
                table.append([f"# {split}", f"{len(items):,}"])
        widths = [max(len(str(row[i])) for row in table) for i in range(2)]
        line = "  ".join(
            "-" * width for width in widths
        )  # as by tabulate, whose import takes longer than reading Shapes
        print("\n".join([line, *(f"{title:{widths[0]}}  {value}" for title, value in table), line]))


class _Once:
    """Prints one sentence only, in whichever of the loaders' processes is the first to have one."""

    def __init__(self, said=None):
        self.said = said or multiprocessing.Value("b", 0)

    def __reduce__(self):  # shared with a process that is being started; a copy of its own otherwise
        return _Once, ((self.said,) if get_spawning_popen() else ())

    def __call__(self, sentence):
        with self.said.get_lock():
            said, self.said.value = self.said.value, 1
        if not said:
            print(sentence, flush=True)


@functools.cache
def _say_once():
    return _Once()


class DatasetWrapper(Dataset):
    """A list of `Datum` as dictionaries.

    A picture of more than 8 bits is scaled (see `read_image`), which is said once for all wrappers of a DataManager.

    Keys: "label", "domain", "impath", "index" (position in the list), "img", and "img0" (not augmented) if
    `cfg.DATALOADER.RETURN_IMG0`. With a list of transforms their images are "img", "img2", "img3", ... In
    training, `cfg.DATALOADER.K_TRANSFORMS` above 1 makes each of them a list of that many views.
    """

    def __init__(self, cfg, data_source, transform=None, is_train=False):
        self.cfg = cfg
        self.data_source = data_source
        self.transform = transform
        self.is_train = is_train
        self.k_tfm = cfg.DATALOADER.K_TRANSFORMS if is_train else 1
        self.say_once = _say_once()
        self.return_img0 = cfg.DATALOADER.RETURN_IMG0
        if self.k_tfm > 1 and transform is None:
            raise UserError(f"DATALOADER.K_TRANSFORMS is {self.k_tfm}, but there is no transform: set it to 1")
        plain = [T.Resize(cfg.INPUT.SIZE, interpolation=get_interpolation(cfg.INPUT)), T.ToTensor()]
        if "normalize" in cfg.INPUT.TRANSFORMS:
            plain.append(normalization(cfg.INPUT)[1])
        self.to_tensor = T.Compose(plain)

    def __len__(self):
        return len(self.data_source)

    def __getitem__(self, idx):
        item = self.data_source[idx]
        output = {"label": item.label, "domain": item.domain, "impath": item.impath, "index": idx}
        img0 = read_image(item.impath)
        depth = img0.info.get("scaled_from")
        if depth:
            self.say_once(SCALED.format(item.impath, depth))
        if self.transform is None:
            output["img"] = img0
        elif isinstance(self.transform, (list, tuple)):
            for i, tfm in enumerate(self.transform):
                output["img" if i == 0 else f"img{i + 1}"] = self._views(tfm, img0)
        else:
            output["img"] = self._views(self.transform, img0)
        if self.return_img0:
            output["img0"] = self.to_tensor(img0)
        return output

    def _views(self, tfm, img0):
        views = [tfm(img0) for _ in range(self.k_tfm)]
        return views[0] if len(views) == 1 else views
