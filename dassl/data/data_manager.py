"""From a data set's lists of paths to batches of images."""

import functools

import torch
import torchvision.transforms as T
from torch.utils.data import DataLoader, Dataset, get_worker_info

from dassl.data.datasets import build_dataset
from dassl.data.samplers import build_sampler
from dassl.data.transforms import build_transform, get_interpolation, normalization
from dassl.utils import SCALED, UserError, read_image


@functools.cache
def _scaling_said():
    """Whether it has been said that deep pictures are scaled, in memory that loading processes share."""
    return torch.zeros((), dtype=torch.bool).share_memory_()


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
    wrapper = dataset_wrapper or DatasetWrapper
    loader = DataLoader(
        wrapper(cfg, data_source, transform=tfm, is_train=is_train),
        batch_size,
        sampler=build_sampler(sampler_type, cfg, data_source, batch_size, n_domain, n_ins),
        drop_last=is_train and len(data_source) >= batch_size,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
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
        _scaling_said().zero_()
        self.dataset = dataset = build_dataset(cfg)
        self.num_classes, self.lab2cname = dataset.num_classes, dataset.lab2cname
        self.num_source_domains = len(cfg.DATASET.SOURCE_DOMAINS)
        if self.num_classes < 2:
            raise UserError(
                f'{cfg.DATASET.NAME} has one class only ("{dataset.classnames[0]}"), and so nothing to tell apart: '
                "add classes, or use all of them (DATASET.SUBSAMPLE_CLASSES all)"
            )
        tfm_train = _transform(cfg, custom_tfm_train, is_train=True)
        tfm_test = _transform(cfg, custom_tfm_test, is_train=False)

        def loader(images, node, is_train):
            return build_data_loader(
                cfg,
                node.SAMPLER,
                images,
                node.BATCH_SIZE,
                # the node of tests has neither
                n_domain=node.get("N_DOMAIN", 0),
                n_ins=node.get("N_INS", 1),
                tfm=tfm_train if is_train else tfm_test,
                is_train=is_train,
                dataset_wrapper=dataset_wrapper,
            )

        nodes = cfg.DATALOADER
        node_u = nodes.TRAIN_X if nodes.TRAIN_U.SAME_AS_X else nodes.TRAIN_U
        self.train_loader_x = loader(dataset.train_x, nodes.TRAIN_X, is_train=True)
        self.train_loader_u = loader(dataset.train_u, node_u, is_train=True) if dataset.train_u else None
        self.val_loader = loader(dataset.val, nodes.TEST, is_train=False) if dataset.val else None
        self.test_loader = loader(dataset.test, nodes.TEST, is_train=False)
        if cfg.VERBOSE:
            self.show_dataset_summary(cfg)

    def show_dataset_summary(self, cfg):
        """Print a table of the data set's name, domains and sizes."""
        table = {"Dataset": cfg.DATASET.NAME}
        table["Source"], table["Target"] = cfg.DATASET.SOURCE_DOMAINS, cfg.DATASET.TARGET_DOMAINS
        table["# classes"] = f"{self.num_classes:,}"
        for split in ("train_x", "train_u", "val", "test"):
            images = getattr(self.dataset, split)
            table[f"# {split}"] = f"{len(images):,}" if images else ""
        shown = {title: str(value) for title, value in table.items() if value}
        widths = [max(map(len, shown)), max(map(len, shown.values()))]
        line = "  ".join("-" * width for width in widths)
        # as by tabulate, whose import takes longer than reading Shapes
        print("\n".join([line, *(f"{title:{widths[0]}}  {value}" for title, value in shown.items()), line]))


def _transform(cfg, custom, is_train):
    if custom is None:
        return build_transform(cfg, is_train=is_train)
    print(f"* Using custom transform for {'training' if is_train else 'testing'}")
    return custom


class DatasetWrapper(Dataset):
    """A list of `Datum` as dictionaries.

    A picture of more than 8 bits is scaled (see `read_image`), which is said once for all wrappers of a DataManager.

    Keys: "label", "domain", "impath", "index" (position in the list), "img", and "img0" (not augmented) if
    `cfg.DATALOADER.RETURN_IMG0`. With a list of transforms their images are "img", "img2", "img3", ... In
    training, `cfg.DATALOADER.K_TRANSFORMS` above 1 makes each of them a list of that many views.
    """

    def __init__(self, cfg, data_source, transform=None, is_train=False):
        self.cfg, self.is_train = cfg, is_train
        self.data_source, self.transform = data_source, transform
        self.k_tfm = cfg.DATALOADER.K_TRANSFORMS if is_train else 1
        if self.k_tfm > 1 and transform is None:
            raise UserError(f"DATALOADER.K_TRANSFORMS is {self.k_tfm}, but there is no transform: set it to 1")
        self.return_img0 = cfg.DATALOADER.RETURN_IMG0
        self.scaling_said = _scaling_said()
        plain = [T.Resize(cfg.INPUT.SIZE, interpolation=get_interpolation(cfg.INPUT)), T.ToTensor()]
        if "normalize" in cfg.INPUT.TRANSFORMS:
            plain.append(normalization(cfg.INPUT))
        self.to_tensor = T.Compose(plain)

    def __len__(self):
        return len(self.data_source)

    def __getitem__(self, idx):
        item = self.data_source[idx]
        image = read_image(item.impath)
        self._say_if_scaled(image, item.impath)
        sample = {"label": item.label, "domain": item.domain, "impath": item.impath, "index": idx}
        several = isinstance(self.transform, (list, tuple))
        for number, transform in enumerate(self.transform if several else [self.transform], start=1):
            sample["img" if number == 1 else f"img{number}"] = self._views(transform, image)
        if self.return_img0:
            sample["img0"] = self.to_tensor(image)
        return sample

    def _views(self, transform, image):
        if transform is None:
            return image
        views = [transform(image) for _ in range(self.k_tfm)]
        return views if self.k_tfm > 1 else views[0]

    def _say_if_scaled(self, image, path):
        """Only in one of the loading processes: two would say it at the same time."""
        depth, worker = image.info.get("scaled_from"), get_worker_info()
        if depth and not self.scaling_said and (worker is None or worker.id == 0):
            self.scaling_said.fill_(True)
            print(SCALED.format(path, depth), flush=True)
