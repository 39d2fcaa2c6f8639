"""Views that the seed gives: the same for every method, order and setting, and training on their stored features."""

import pytest
import torch

import dassl.data.data_manager as data_manager
from trainers import keys
from trainers.errors import UserError
from trainers.features import frozen_features, stored_views
from trainers.features.stored_views import View, ViewLoader
from trainers.run.experiment import settings_of

VIEWS = ("DATALOADER.STORED_VIEWS", 3)  # as many as epochs


def views_of(trainer, view, seed=1):
    images = View(trainer.views.loader.dataset, seed, view, trainer.views.dataset_dir)
    return [images[i]["img"] for i in range(len(images))]


def same(ours, theirs):
    return all(map(torch.equal, ours, theirs))


def encodings(monkeypatch):
    """A list that grows by the number of pictures of each pass of the frozen encoder."""
    sizes, original = [], frozen_features.FrozenFeatures.encode
    monkeypatch.setattr(
        frozen_features.FrozenFeatures, "encode", lambda self, image: sizes.append(len(image)) or original(self, image)
    )
    return sizes


def finish(trainer):
    trainer.train()
    return trainer.model.prompt_learner.ctx.detach()


# ---- views -------------------------------------------------------------------------------------------------


def test_a_view_depends_on_seed_number_and_picture_alone(make_trainer):
    trainer = make_trainer("CoOp", *VIEWS)
    first = views_of(trainer, 0)
    torch.rand(3)
    other = make_trainer("KgCoOp", *VIEWS, "DATALOADER.TRAIN_X.BATCH_SIZE", 4)
    images = View(other.views.loader.dataset, 1, 0, other.views.dataset_dir)
    assert same(first[::-1], [images[i]["img"] for i in reversed(range(36))])
    for changed in (views_of(trainer, 1), views_of(trainer, 0, seed=2)):
        assert not any(map(torch.equal, first, changed))
    trainer.views.dataset_dir = ""  # paths as they are: another name of each picture
    assert not any(map(torch.equal, first, views_of(trainer, 0)))


def test_loading_processes_draw_the_same_views(make_trainer):
    batches = []
    for workers in (0, 2):
        trainer = make_trainer("SEP", *VIEWS, "DATALOADER.NUM_WORKERS", workers)
        batches.append(list(trainer.train_loader_x))
    for ours, theirs in zip(*batches):
        assert ours["impath"] == theirs["impath"] and torch.equal(ours["img"], theirs["img"])


def test_epochs_take_the_views_in_turn(make_trainer):
    trainer = make_trainer("CoOp", "DATALOADER.STORED_VIEWS", 2)
    taken = []
    for epoch in range(4):
        trainer.views.epoch = epoch
        taken.append(trainer.views.features(torch.arange(36)))
    assert torch.equal(taken[0], taken[2]) and torch.equal(taken[1], taken[3])
    assert not torch.equal(taken[0], taken[1])


@pytest.mark.parametrize("name", ["CoOp", "SEP"])
def test_the_order_is_the_loaders(make_trainer, name):
    """Of a training that loads in processes of their own, whose augmentations do not move the order's generator."""
    orders = []
    for options in ((), VIEWS):
        trainer = make_trainer(name, *options, "DATALOADER.NUM_WORKERS", 2)
        torch.manual_seed(7)
        orders.append([batch["impath"] for _ in range(2) for batch in trainer.train_loader_x] + [torch.rand(1).item()])
        assert len(trainer.train_loader_x) == 4
    assert orders[0] == orders[1]


# ---- training ----------------------------------------------------------------------------------------------


def test_the_first_run_encodes_and_all_others_share(make_trainer, tmp_path, monkeypatch):
    sizes = encodings(monkeypatch)
    finish(make_trainer("CoOp", *VIEWS, "TEST.NO_TEST", True, output=tmp_path / "a"))
    assert sum(sizes) == 3 * 36 and max(sizes) == stored_views.BATCH
    sizes.clear()
    read = []
    monkeypatch.setattr(data_manager, "read_image", read.append)
    for name, *options in (
        ("CoOp", "OPTIM.LR", 0.01, "DATALOADER.TRAIN_X.BATCH_SIZE", 5),
        ("E2MIM",),
        ("KgCoOp", "OPTIM.MAX_EPOCH", 2, "DATALOADER.STORED_VIEWS", 2),
    ):
        finish(make_trainer(name, *VIEWS, "TEST.NO_TEST", True, *options, output=tmp_path / name / str(len(options))))
    assert not sizes and not read


@pytest.mark.parametrize(
    "name, options",
    [
        ("CoOp", ()),
        ("E2MIM", ("TRAINER.E2MIM.MIXUP_SPACE", "image")),
        ("SEP", ()),
    ],
)
def test_as_many_views_as_epochs_train_as_the_pictures_would(make_trainer, tmp_path, monkeypatch, name, options):
    """The same views through the encoder, batch by batch; the last bits are those of another batch size."""
    # An optimiser whose steps are as small as its gradients' differences
    options = (*options, *VIEWS, "OPTIM.NAME", "sgd", "TEST.NO_TEST", True)
    stored = finish(make_trainer(name, *options, output=tmp_path / "stored"))
    trainer = make_trainer(name, *options, output=tmp_path / "encoded")
    start = trainer.model.prompt_learner.ctx.detach().clone()
    monkeypatch.setattr(trainer.model, "reads_pixels", lambda training: True)
    monkeypatch.setattr(trainer, "views", None)
    views = trainer.train_loader_x
    monkeypatch.setattr(trainer, "before_epoch", lambda: setattr(views, "epoch", trainer.epoch))
    encoded = finish(trainer)
    assert (stored - start).abs().max() > 1e-4
    torch.testing.assert_close(stored, encoded, atol=1e-6, rtol=0)


def test_without_augmentation_the_features_are_stored_by_themselves(make_trainer, tmp_path, monkeypatch):
    sizes = encodings(monkeypatch)
    for name in ("CoOp", "KgCoOp", "SEP"):
        trainer = make_trainer(name, "INPUT.TRANSFORMS", ["normalize"], "TEST.NO_TEST", True, output=tmp_path / name)
        assert isinstance(trainer.train_loader_x, ViewLoader)
        finish(trainer)
    assert sum(sizes) == 36 + 36  # the second time under the transform of tests, for SEP's prototypes
    trainer = make_trainer("CoOp")
    assert not isinstance(trainer.train_loader_x, ViewLoader), "with it, they are drawn as ever"


def test_more_views_than_the_store_keeps_are_told(make_trainer, capsys):
    size = 3 * 36 * make_trainer("CoOp").frozen.size / 2**30
    for room, told in ((0.99 * size, 1), (1.01 * size, 0), (0.0, 0)):
        capsys.readouterr()
        make_trainer("CoOp", *VIEWS, "STORE.MAX_GB", room)
        assert capsys.readouterr().out.count("Note: 3 views of 36 pictures") == told


def test_a_picture_that_changes_between_runs(make_trainer, tmp_path, monkeypatch):
    options = (*VIEWS, "TEST.NO_TEST", True, "DATASET.ROOT", str(tmp_path / "own"))
    finish(make_trainer("CoOp", *options, output=tmp_path / "a"))
    path = tmp_path / "own" / "tiny" / "train" / "2_1.png"
    path.write_bytes(path.read_bytes() + b"0")
    sizes = encodings(monkeypatch)
    finish(make_trainer("CoOp", *options, output=tmp_path / "b"))
    assert sum(sizes) == 3 * 36


# ---- what makes an experiment ------------------------------------------------------------------------------


def test_the_number_of_views_makes_the_experiment(make_cfg, make_trainer):
    assert settings_of(make_cfg("CoOp", *VIEWS))["DATALOADER.STORED_VIEWS"] == 3
    assert settings_of(make_cfg("CoOp", *VIEWS)) == settings_of(make_cfg("CoOp", *VIEWS, "STORE.MAX_GB", 1.0))
    finish(make_trainer("CoOp", *VIEWS))
    with pytest.raises(UserError, match="DATALOADER.STORED_VIEWS 3, but this run has 2"):
        finish(make_trainer("CoOp", "DATALOADER.STORED_VIEWS", 2))


def test_views_need_a_seed(make_cfg):
    with pytest.raises(UserError, match="STORED_VIEWS are drawn from the seed: set SEED"):
        keys.check(make_cfg("CoOp", *VIEWS, "SEED", -1))
    with pytest.raises(UserError, match="DATALOADER.STORED_VIEWS is -1"):
        keys.check(make_cfg("CoOp", "DATALOADER.STORED_VIEWS", -1))
