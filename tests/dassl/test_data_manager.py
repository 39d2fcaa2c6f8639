import random

import numpy as np
import pytest
import torch

from dassl.data import DataManager, DatasetWrapper
from dassl.data.data_manager import build_data_loader
from dassl.data.datasets import DATASET_REGISTRY, DatasetBase, Datum


class NoisyTransform:
    """A transform that draws from all three global random generators."""

    def __call__(self, image):
        return torch.tensor([random.random(), np.random.rand(), torch.rand(1).item()])


def state():
    return random.getstate(), np.random.get_state(), torch.get_rng_state()


def restore(states):
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])


def epoch(loader):
    return [(batch["index"].tolist(), batch["img"].clone()) for batch in loader]


def same(first, second):
    return all(a[0] == b[0] and torch.equal(a[1], b[1]) for a, b in zip(first, second))


def items(root, n=16):
    return [Datum(f"{root}/{i}.png", i % 4, i % 3, f"class {i % 4}") for i in range(n)]


# ---------------------------------------------------------------- loaders
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("sampler", ["RandomSampler", "RandomClassSampler"])
def test_an_epoch_depends_on_the_random_state_alone(cfg, toy_root, workers, sampler):
    cfg.DATALOADER.NUM_WORKERS = workers
    data = items(toy_root)
    loader = build_data_loader(cfg, sampler_type=sampler, data_source=data, batch_size=4, n_ins=2, tfm=NoisyTransform())
    epoch(loader)
    before = state()
    second, third = epoch(loader), epoch(loader)
    assert not same(second, third)
    draws = torch.cat([images for _, images in second])
    for values in draws.unbind(1):
        assert len(values.unique()) == len(draws)  # every image its own draw, from each generator

    fresh = build_data_loader(  # as a process that resumes would build it
        cfg, sampler_type=sampler, data_source=data, batch_size=4, n_ins=2, tfm=NoisyTransform()
    )
    restore(before)
    assert same(epoch(fresh), second)
    assert same(epoch(fresh), third)


@pytest.mark.parametrize(
    "is_train, n, sizes", [(True, 10, [4, 4]), (True, 3, [3]), (False, 10, [4, 4, 2]), (True, 4, [4])]
)
def test_only_training_drops_an_incomplete_batch(cfg, toy_root, is_train, n, sizes):
    loader = build_data_loader(
        cfg, data_source=items(toy_root, n), batch_size=4, tfm=NoisyTransform(), is_train=is_train
    )
    assert [len(batch["label"]) for batch in loader] == sizes


@pytest.mark.parametrize(
    ("content", "error", "sentence"),
    [(b"\x89PNG broken", ValueError, "cannot be decoded ("), (None, FileNotFoundError, "does not exist")],
)
def test_an_image_that_cannot_be_read_is_one_sentence(content, error, sentence, cfg, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(content or b"")
    data = [Datum(str(path))]
    if content is None:
        path.unlink()
    with pytest.raises(error) as caught:
        list(build_data_loader(cfg, data_source=data, batch_size=1, tfm=NoisyTransform(), is_train=False))
    assert str(caught.value).startswith(f'image "{path}" {sentence}') and "\n" not in str(caught.value)


# ---------------------------------------------------------------- wrapper
def test_wrapper_gives_what_is_known_of_an_image(cfg, toy_root):
    sample = DatasetWrapper(cfg, items(toy_root), transform=NoisyTransform(), is_train=True)[5]
    assert set(sample) == {"label", "domain", "impath", "index", "img"}
    assert (sample["label"], sample["domain"], sample["index"]) == (1, 2, 5)
    assert sample["impath"] == f"{toy_root}/5.png"


def test_wrapper_with_views_and_plain_image(cfg, toy_root):
    cfg.DATALOADER.K_TRANSFORMS = 3
    cfg.DATALOADER.RETURN_IMG0 = True
    tfm = NoisyTransform()
    sample = DatasetWrapper(cfg, items(toy_root), transform=[tfm, tfm], is_train=True)[0]
    assert len(sample["img"]) == len(sample["img2"]) == 3
    assert sample["img0"].shape == (3, 8, 8) and sample["img0"].min() < 0  # resized and normalised
    sample = DatasetWrapper(cfg, items(toy_root), transform=tfm, is_train=False)[0]
    assert sample["img"].shape == (3,)  # several views in training only
    assert DatasetWrapper(cfg, items(toy_root))[0]["img"].size == (10, 12)  # without a transform the PIL image
    with pytest.raises(ValueError, match="K_TRANSFORMS is 3"):
        DatasetWrapper(cfg, items(toy_root), is_train=True)


# ---------------------------------------------------------------- manager
def test_manager_builds_the_loaders(cfg, capsys):
    manager = DataManager(cfg)
    assert manager.num_classes == 4 and manager.lab2cname[2] == "class 2" and manager.num_source_domains == 0
    assert manager.train_loader_u is None
    assert len(manager.train_loader_x) == 4 and len(manager.val_loader) == len(manager.test_loader) == 1
    batch = next(iter(manager.train_loader_x))
    assert batch["img"].shape == (4, 3, 8, 8)
    summary = capsys.readouterr().out.splitlines()
    assert [line.split() for line in summary[-6:-1]] == [
        ["Dataset", "Toy"],
        ["#", "classes", "4"],
        ["#", "train_x", "16"],
        ["#", "val", "4"],
        ["#", "test", "8"],
    ]


@pytest.mark.parametrize(
    ("labels", "tested", "sentence"),
    [
        ([0, 0], [0], 'Toy has one class only ("class 0"), and so nothing to tell apart: add classes'),
        ([0, 1], [], "Toy has no images to test on: check its folder"),
        ([0, 1], None, "Toy has no images to test on: check its folder"),
        ([], [0], "the data set has no training images: check its folder and DATASET.NUM_SHOTS"),
    ],
)
def test_a_data_set_that_nothing_can_be_learned_from(labels, tested, sentence, cfg, toy_root, monkeypatch):
    def init(self, cfg):
        datum = [
            [Datum(f"{toy_root}/{i}.png", y, 0, f"class {y}") for i, y in enumerate(ys or ())]
            for ys in (labels, tested)
        ]
        DatasetBase.__init__(self, train_x=datum[0], test=datum[1] if tested is not None else None)

    monkeypatch.setattr(DATASET_REGISTRY.get("Toy"), "__init__", init)
    with pytest.raises(ValueError) as error:
        DataManager(cfg)
    assert str(error.value).startswith(sentence) and "\n" not in str(error.value)


def test_manager_takes_custom_parts(cfg):
    class Wrapper(DatasetWrapper):
        pass

    manager = DataManager(
        cfg,
        custom_tfm_train=NoisyTransform(),
        custom_tfm_test=NoisyTransform(),
        dataset_wrapper=Wrapper,
    )
    for loader in (manager.train_loader_x, manager.val_loader, manager.test_loader):
        assert isinstance(loader.dataset, Wrapper) and next(iter(loader))["img"].shape[1:] == (3,)
