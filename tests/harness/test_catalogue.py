"""Every (method, protocol, data set): the config that the catalogue names exists, and so does every key in it."""

import functools

import pytest

import train
from dassl.data.datasets import DATASET_REGISTRY
from dassl.engine import TRAINER_REGISTRY
from harness import catalogue, config
from harness.catalogue import BUNDLED, METHODS, TRAINERS
from tests.conftest import REPOSITORY as ROOT

DATASETS = sorted(path.stem for path in (ROOT / "configs/datasets").glob("*.yaml"))
RUNS = [("base2new", 16), ("xd", 16), *(("few_shot", shots) for shots in (1, 2, 4, 8, 16))]


def merge(trainer, dataset, name):
    return train.setup_cfg(
        train.parse_args(
            [
                *("--trainer", trainer),
                *("--dataset-config-file", str(ROOT / f"configs/datasets/{dataset}.yaml")),
                *("--config-file", str(ROOT / f"configs/trainers/{trainer}/{name}.yaml")),
            ]
        )
    )


@pytest.fixture(autouse=True)
def each_file_read_once(monkeypatch):
    monkeypatch.setattr(config, "read_config", functools.lru_cache(maxsize=None)(config.read_config))


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.folder)
def test_every_config_of_the_catalogue_merges(method):
    assert method.trainer in TRAINER_REGISTRY.registered_names()
    for dataset in DATASETS:
        for name in {method.config(protocol, dataset, shots) for protocol, shots in RUNS}:
            cfg = merge(method.trainer, dataset, name)
            assert cfg.DATASET.NAME in DATASET_REGISTRY.registered_names()
            offline = dataset in BUNDLED
            assert (cfg.MODEL.BACKBONE.NAME == "shapes-tiny") is offline, (dataset, name)


@pytest.mark.parametrize("method", [method for method in METHODS if method.base_key], ids=lambda method: method.folder)
def test_what_a_method_wraps_is_what_its_config_says(method):
    for base in method.bases:
        pairs = [method.base_key, base]
        names = {method.config(p, d, n, pairs) for p, n in RUNS for d in ("imagenet", "dtd", "caltech101", "shapes")}
        for name in names:
            stated = dict(
                config.flatten(config.read_config(str(ROOT / f"configs/trainers/{method.trainer}/{name}.yaml")))
            )
            assert stated[method.base_key] == base, name
    assert method.config("base2new", "dtd", 16, [method.base_key, "nothing"]) == method.config("base2new", "dtd", 16)


def test_the_catalogue_has_every_trainer_once():
    assert set(TRAINERS) == {path.name for path in (ROOT / "configs/trainers").iterdir()}
    assert len({method.folder for method in METHODS}) == len(set(TRAINERS)) == len(METHODS)


def test_the_catalogue_has_only_data_sets_that_are_there():
    named = {*catalogue.DATASETS, *BUNDLED, *sum(catalogue.DOMAIN_SHIFTS.values(), [])}
    assert named | {"image_folder"} == set(DATASETS)
    lines = [line for method in METHODS for line in method.configs]
    assert {name for line in lines for name in line.datasets.split()} <= named


# What all published configs state alike. Config files stay flat, as forks' are: this test is where they are one.
ALL = {
    "DATALOADER.NUM_WORKERS": 8,
    "INPUT.SIZE": (224, 224),
    "INPUT.INTERPOLATION": "bicubic",
    "INPUT.PIXEL_MEAN": [0.48145466, 0.4578275, 0.40821073],  # CLIP's own
    "INPUT.PIXEL_STD": [0.26862954, 0.26130258, 0.27577711],
    "MODEL.BACKBONE.NAME": "ViT-B/16",
}
TRAINED = {
    "INPUT.TRANSFORMS": ("random_resized_crop", "random_flip", "normalize"),
    "OPTIM.LR_SCHEDULER": "cosine",
    "OPTIM.WARMUP_EPOCH": 1,
    "OPTIM.WARMUP_TYPE": "constant",
    "OPTIM.WARMUP_CONS_LR": 1e-5,
}


# The others have no prompts to learn, or none that need a warm-up
PROMPTED = set(TRAINERS) - {"ZeroshotCLIP", "TipAdapter", "TipAdapterF", "LinearProbe"}


OWN = {"CoPrompt": {"INPUT.TRANSFORMS": ("randaugment", "normalize"), "DATALOADER.K_TRANSFORMS": 2}}
WARMUPS = {"SkipTuning": {True: 1e-8, False: 1e-6}}  # whether across data sets: the rate of the warm-up


@pytest.mark.parametrize(
    "path",
    sorted((ROOT / "configs/trainers").glob("*/*.yaml")),
    ids=lambda path: f"{path.parent.name}-{path.stem}",
)
def test_every_config_file_merges_and_says_what_it_is(path):
    """Also those that only CFG=... chooses. Published ones share their keys."""
    merged = dict(config.flatten(merge(path.parent.name, "caltech101", path.stem)))
    assert path.read_text().startswith("# ")
    if path.stem.startswith("shapes"):
        return
    stated = dict(config.flatten(config.read_config(str(path))))
    expected = {**ALL, **(TRAINED if path.parent.name in PROMPTED else {}), **OWN.get(path.parent.name, {})}
    if path.stem.startswith("vit_l14"):  # to teach PromptKD
        expected["MODEL.BACKBONE.NAME"] = "ViT-L/14"
    if path.parent.name in WARMUPS:
        expected["OPTIM.WARMUP_CONS_LR"] = WARMUPS[path.parent.name]["cross_datasets" in path.stem]
    if stated.get("OPTIM.WARMUP_EPOCH") == 0:
        expected = {key: value for key, value in expected.items() if not key.startswith("OPTIM.WARMUP_")}
    assert expected.keys() <= stated.keys()
    assert {key: merged[key] for key in expected} == expected
