"""Data sets: what one is, and the registry of all."""

from dassl.data.datasets.base_dataset import DatasetBase, Datum
from dassl.utils import Registry

__all__ = ["DATASET_REGISTRY", "DatasetBase", "Datum", "build_dataset"]

DATASET_REGISTRY = Registry("DATASET")


def build_dataset(cfg):
    """Build the data set called `cfg.DATASET.NAME`. Raises ValueError, with the known names, if none is."""
    cls = DATASET_REGISTRY.get(cfg.DATASET.NAME)
    if cfg.VERBOSE:
        print(f"Loading dataset: {cfg.DATASET.NAME}")
    return cls(cfg)
