"""What holds for every method. Each joins by a row in methods.py."""

import json
import os

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from dassl.config import get_cfg_default
from datasets.shapes import world
from tests.conftest import REPOSITORY, kill_at
from tests.tiny import CLASSNAMES, give_teacher
from tests.trainers.methods import LEARNING, METHODS, often
from trainers.backbone.clip_loader import cast_weights, load_clip
from trainers.errors import UserError
from trainers.features import frozen_features, stored_pictures
from trainers.run import checkpoint
from trainers.run.experiment import data_checksums, nodes_of, settings_of


@pytest.fixture(params=METHODS)
def method(request):
    return METHODS[request.param]


@pytest.fixture(params=LEARNING)
def learning(request):
    return METHODS[request.param]


@pytest.fixture
def batch():
    torch.manual_seed(1)
    return torch.randn(8, 3, 32, 32), torch.tensor([0, 1, 2, 3, 4, 5, 0, 1])


def step(model, optimiser, batch):
    optimiser.zero_grad()
    _, losses = model(*batch)
    model.backward(losses)
    optimiser.step()
    return sum(losses.values()).item()


def learnable(model):
    """What the first steps train: a method may have more for later ones."""
    return [p for m in (model.prompt_learner, model.training_only) for p in m.parameters() if p.requires_grad]


def test_shapes_and_finite_losses(method, build, batch):
    model = build(method)
    assert model(batch[0]).shape == (8, len(CLASSNAMES))
    logits, losses = model(*batch)
    assert logits.shape == (8, len(CLASSNAMES)) and logits.dtype == torch.float32
    assert all(torch.isfinite(value) and value.dim() == 0 for value in losses.values())
    for view in model.text_views().values():
        assert view.shape == (len(CLASSNAMES), 32)


def test_loss_falls(learning, tmp_path):
    cfg = get_cfg_default()
    cfg.merge_from_file(REPOSITORY / "configs/datasets/shapes.yaml")
    cfg.merge_from_file(REPOSITORY / (learning.configs or f"configs/trainers/{learning.trainer}") / "shapes.yaml")
    cfg.merge_from_list([*learning.options, f"TRAINER.{learning.config_node}.PREC", "fp32"])
    cfg.TRAINER.NAME, names = learning.trainer, world.CLASSNAMES[:8]
    pictures = np.stack([world.picture("train", name, 0) for name in names])
    image = torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(values)[:, None, None] for values in (cfg.INPUT.PIXEL_MEAN, cfg.INPUT.PIXEL_STD))
    image = (image - mean) / std
    give_teacher(cfg, tmp_path / "teacher", dim=128)
    torch.manual_seed(0)
    model = learning.custom_clip(cfg, names, load_clip("shapes-tiny"))
    optimiser = torch.optim.Adam(learnable(model), lr=2e-3)
    losses = [step(model, optimiser, (image, torch.arange(8))) for _ in range(8)]
    assert np.isfinite(losses).all() and np.mean(losses[-3:]) < 0.98 * losses[0]


def test_only_the_learner_is_trained(learning, build, batch):
    model = build(learning)
    own = {id(p) for p in learnable(model)}
    frozen = {name: p.detach().clone() for name, p in model.named_parameters() if id(p) not in own}
    optimiser = torch.optim.Adam(learnable(model), lr=1e-2)
    for _ in range(2):  # a weight that starts at zero hides another's gradient in the first
        step(model, optimiser, batch)
    for name, parameter in model.named_parameters():
        if id(parameter) in own:
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
        else:
            assert parameter.grad is None and torch.equal(parameter, frozen[name]), name


def test_batch_independence(method, build, batch):
    model = build(method).eval()
    with torch.no_grad():
        together = model(batch[0])
        alone = torch.cat([model(image[None]) for image in batch[0]])
    difference = (together - alone).abs().max().item()
    if method.batch_independent:
        assert difference < 1e-5
    else:
        assert difference > 1e-3, "this variant is meant to reproduce a dependence on the batch"


def test_text_encoded_once_gives_the_same_logits(method, build, batch):
    model = build(method).eval()
    with torch.no_grad():
        if model.text_depends_on_image:  # nothing to compute once: the claim is true
            first, second = model.encode_text(model.encode_image(batch[0][:2]))
            assert (first - second).abs().max() > 1e-4
            return
        text_features = model.encode_text()
        assert torch.equal(model(batch[0]), model(batch[0], text_features=text_features))


def options_of(method, *prefixes):
    """The method's config keys that start with one of the prefixes, dotted -> their defaults."""
    node = get_cfg_default().TRAINER[method.config_node]
    return {f"TRAINER.{method.config_node}.{key}": value for key, value in node.items() if key.startswith(prefixes)}


def test_class_names_and_templates_are_taken_literally(method, build, batch):
    for names in (["{}", "a {b}", "{0!r}", "%s", "\U0001f431", "polar_bear"], CLASSNAMES):
        model = build(method, "DATASET.TEMPLATE", "a {x} photo of a {}.", classnames=names)
        assert torch.isfinite(model(batch[0])).all()


def test_a_class_without_a_name(method, build):
    if not method.reads_names:
        assert build(method, classnames=["cat", "_"]).text_views() == {}
        return
    with pytest.raises(UserError, match="Class 1 of the data set has the name"):
        build(method, classnames=["cat", "_"])


@pytest.mark.parametrize("number", [75, 10**9])
def test_prompts_that_do_not_fit(learning, build, number):
    """Whatever they start from."""
    texts = {key: isinstance(value, str) for key, value in options_of(learning, "CTX_INIT").items()}  # not: a switch
    start = [part for key, is_text in texts.items() for part in (key, "" if is_text else False)]
    for key in options_of(learning, "N_CTX"):
        if key.endswith(("_V", "_VISION")):
            continue
        with pytest.raises(UserError, match=f"{key} .*(can be context|choose)"):
            build(learning, key, number, *start)
    with pytest.raises(UserError, match="The prompt of class .* shorten the class name by"):
        build(learning, classnames=["cat", "tiger " * 76])
    for key in (key for key, is_text in texts.items() if is_text):
        for words, sentence in (("a photo of a {}", "has braces"), (" ", "has no words"), ("word " * 75, "at most")):
            with pytest.raises(UserError, match=f"{key} .*{sentence}"):
                build(learning, key, words)


def test_a_template_that_does_not_fit(method, build):
    """Also where it gives the context its start."""
    try:
        model = build(method, "DATASET.TEMPLATE", "word " * 75 + "{}")
    except UserError as error:
        assert "template" in str(error)
    else:
        assert model.hand_features is None, "only a method that reads no template may take this one"


@pytest.mark.parametrize("prec", ["bf16", "fp16", "amp"])
def test_precisions_agree(method, build, batch, tiny_clip, prec):
    """Encoders in half precision as on a GPU (PREC fp16 itself falls back to fp32 on a CPU), or under autocast."""
    full = build(method)
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, "amp": torch.float32}[prec]
    half = build(method, clip_model=cast_weights(tiny_clip(), dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=prec == "amp"):
        torch.manual_seed(0)
        logits, losses = half(*batch)
    assert logits.dtype == torch.float32 and all(value.dtype == torch.float32 for value in losses.values())
    # bf16 keeps 8 bits: 2^-8 relative in features of unit length, times logit scale 14, over some layers
    torch.manual_seed(0)
    expected, _ = full(*batch)
    assert (logits - expected).abs().max() < 0.5
    assert (logits - expected).abs().mean() < 0.1
    if method.learns and not method.fitted:
        half.backward(losses)
        for parameter in learnable(half):
            assert parameter.dtype == parameter.grad.dtype == torch.float32
            assert torch.isfinite(parameter.grad).all()


def test_weights_of_base_classes_load_on_new_ones(learning, build, batch):
    base = build(learning, classnames=CLASSNAMES[:3])
    step(base, torch.optim.Adam(learnable(base), lr=1e-2), (batch[0], batch[1] % 3))
    new = build(learning, classnames=CLASSNAMES[3:])
    checkpoint.load_weights(new.prompt_learner, base.prompt_learner.state_dict(), "base")
    if learning.class_specific:  # refused by whoever loads: test_what_belongs_to_its_classes
        return
    again = build(learning, classnames=CLASSNAMES[:3])
    checkpoint.load_weights(again.prompt_learner, new.prompt_learner.state_dict(), "new")
    with torch.no_grad():
        assert torch.equal(base.eval()(batch[0]), again.eval()(batch[0]))
        assert new.eval()(batch[0]).shape == (8, 3)


def test_resnet(method, make_trainer):
    name = f"TRAINER.{method.config_node}.PREC"
    if not method.resnet:
        with pytest.raises(ValueError, match="ResNet"):
            make_trainer(method.trainer, *method.options, name, "fp32", backbone="resnet")
        return
    trainer = make_trainer(method.trainer, *method.options, name, "fp32", backbone="resnet")
    before = {k: v.clone() for k, v in trainer.model.image_encoder.state_dict().items()}
    trainer.train()
    after = trainer.model.image_encoder.state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items()), "batch norms keep their statistics"


def run(make_trainer, method, output, *options):
    trainer = make_trainer(method.trainer, *method.options, *options, output=output)
    trainer.train()
    return trainer


def test_run_leaves_its_record(method, make_trainer, tmp_path):
    trainer = run(make_trainer, method, tmp_path / "run", "TEST.SAVE_PREDICTIONS", True)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["n"] == 18 and metrics["n_cls"] == 6 and metrics["split"] == "test"
    assert metrics["epoch"] == metrics["max_epoch"] == (1 if method.fitted else 3 if method.learns else 0)
    assert 0 <= metrics["accuracy"] <= 100
    predictions = np.load(tmp_path / "run" / "predictions.npz")
    assert predictions["logits"].shape == (18, 6) and predictions["logits"].dtype == np.float32
    assert predictions["labels"].dtype == np.int64
    accuracy = 100 * (predictions["logits"].argmax(1) == predictions["labels"]).mean()
    assert accuracy == pytest.approx(metrics["accuracy"])
    assert list(predictions["classnames"]) == CLASSNAMES
    assert all(os.path.isfile(path) for path in predictions["impaths"])
    if not method.learns:
        return
    assert checkpoint.epochs_in(tmp_path / "run" / "prompt_learner") == [metrics["epoch"]]
    assert trainer.model._modules["prompt_learner"] is trainer._models["prompt_learner"]
    # The checkpoint says what it is of, so that no run with other settings goes on from it
    state = checkpoint.read(checkpoint.path_of(str(tmp_path / "run" / "prompt_learner"), metrics["epoch"]))
    assert state["settings"] == settings_of(trainer.cfg, nodes_of(trainer, trainer.cfg))
    assert state["data"] == data_checksums(trainer.trains_on)["train"] != ""
    with pytest.raises(ValueError, match="was trained with OPTIM.LR .*, but this run has .*FORCE=1"):
        run(make_trainer, method, tmp_path / "run", "OPTIM.LR", 0.5)


@pytest.mark.parametrize("key", often(METHODS))
def test_backbones_of_other_libraries(key, family, make_trainer, tmp_path):
    method = METHODS[key]
    options = (*method.options, *family.options, "OPTIM.MAX_EPOCH", 1)
    before = make_trainer(method.trainer, *options).model.prompt_learner.state_dict()
    trainer = run(make_trainer, method, tmp_path / "run", *family.options, "OPTIM.MAX_EPOCH", 1)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["n"] == 18 and metrics["epoch"] == (1 if method.learns else 0)
    after = trainer.model.prompt_learner.state_dict()
    assert any(not torch.equal(after[name], before[name]) for name in before) == method.learns


def test_resumed_run_equals_uninterrupted_one(learning, make_trainer, tmp_path, monkeypatch):
    whole = run(make_trainer, learning, tmp_path / "whole")

    class Killed(Exception):
        pass

    trainer = make_trainer(learning.trainer, *learning.options, output=tmp_path / "cut")
    original = trainer.forward_backward

    def die_in_last_epoch(batch):
        if trainer.epoch == 2 and trainer.batch_idx == 1:
            raise Killed
        return original(batch)

    monkeypatch.setattr(trainer, "forward_backward", die_in_last_epoch)
    with pytest.raises(Killed):
        trainer.train()
    folder = tmp_path / "cut" / "prompt_learner"
    assert checkpoint.epochs_in(folder) == [1, 2]
    # The newest checkpoint is cut short: the run goes on from the one before
    newest = folder / "model.pth.tar-2"
    newest.write_bytes(newest.read_bytes()[:1000])

    resumed = run(make_trainer, learning, tmp_path / "cut")
    assert resumed.start_epoch == 1
    for name, value in whole.model.prompt_learner.state_dict().items():
        assert torch.equal(value, resumed.model.prompt_learner.state_dict()[name]), name
    for name, value in whole.model.training_only.state_dict().items():
        assert torch.equal(value, resumed.model.training_only.state_dict()[name]), name


def logits_of(folder):
    return np.load(folder / "predictions.npz")["logits"]


@pytest.mark.parametrize("transforms", [["random_flip", "random_resized_crop", "normalize"], ["normalize"]])
@pytest.mark.parametrize("key", often(METHODS))
def test_stored_features_change_no_bit(key, make_trainer, tmp_path, transforms, monkeypatch):
    """Of training with evaluations in between and of the test: nothing stored, the store cold, and warm.

    Then with decoded pictures in it, too, as beside a GPU.
    """
    method = METHODS[key]
    options = ("OPTIM.MAX_EPOCH", 2, "TEST.SAVE_PREDICTIONS", True, "TEST.FINAL_MODEL", "best_val")
    options = (*options, "INPUT.TRANSFORMS", transforms)
    none = run(make_trainer, method, tmp_path / "none", *options, "STORE.MAX_GB", 0.0)
    for name in ("cold", "warm", "pictures", "warm pictures"):
        monkeypatch.setattr(stored_pictures, "pays", lambda device, kept="pictures" in name: kept)
        again = run(make_trainer, method, tmp_path / name, *options)
        assert np.array_equal(logits_of(tmp_path / name), logits_of(tmp_path / "none"))
        for key, value in none.trained.state_dict().items():
            assert torch.equal(value, again.trained.state_dict()[key]), key


@pytest.mark.parametrize("pictures", [False, True])
@pytest.mark.parametrize("key", often(LEARNING))
def test_stored_views_change_no_bit(key, make_trainer, tmp_path, monkeypatch, pictures):
    """Of a training that draws the same views and keeps nothing; nor does a kill that leaves the store half filled.

    pictures: whether they are kept decoded, as beside a GPU.
    """
    learning = METHODS[key]
    views = ("DATALOADER.STORED_VIEWS", 2)
    none = run(make_trainer, learning, tmp_path / "none", *views, "STORE.MAX_GB", 0.0)
    small_blocks(monkeypatch, pictures)
    trainer = make_trainer(learning.trainer, *learning.options, *views, output=tmp_path / "run")
    monkeypatch.setattr(trainer.frozen.store, "put", kill_at(3, trainer.frozen.store.put))
    monkeypatch.setattr(trainer, "forward_backward", kill_at(7, trainer.forward_backward))  # if nothing is stored
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    monkeypatch.undo()
    small_blocks(monkeypatch, pictures)
    run(make_trainer, learning, tmp_path / "run", *views)
    for output in (tmp_path / "run", tmp_path / "warm"):
        again = run(make_trainer, learning, output, *views)
        for key, value in none.trained.state_dict().items():
            assert torch.equal(value, again.trained.state_dict()[key]), key


def small_blocks(monkeypatch, pictures):
    monkeypatch.setattr(frozen_features, "BLOCK", 8)
    monkeypatch.setattr(stored_pictures, "PICTURES", 8)
    monkeypatch.setattr(stored_pictures, "pays", lambda device: pictures)


def test_weights_that_are_not_finite_are_never_saved(learning, make_trainer, tmp_path, monkeypatch):
    """The last step of an epoch, whose loss was finite, ruins a parameter."""
    trainer = make_trainer(learning.trainer, *learning.options, output=tmp_path / "run")
    name, ruined = list(trainer.trained.named_parameters())[-1]
    original = trainer.forward_backward

    def ruin(batch):
        summary = original(batch)
        if trainer.epoch == 1 and trainer.batch_idx + 1 == trainer.num_batches:
            ruined.data.view(-1)[0] = float("inf")
        return summary

    monkeypatch.setattr(trainer, "forward_backward", ruin)
    with pytest.raises(FloatingPointError, match=f"Weights {name} became infinite or NaN in epoch 2: lower OPTIM.LR"):
        trainer.train()
    assert checkpoint.epochs_in(tmp_path / "run" / "prompt_learner") == [1]
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_every_term_is_logged(learning, make_trainer):
    trainer = make_trainer(learning.trainer, *learning.options)
    batch = default_collate([trainer.train_loader_x.dataset[i] for i in (0, 7, 14, 21)])
    trainer.epoch = trainer.batch_idx = 0
    trainer.num_batches = 2
    summary = dict(trainer.forward_backward(batch).items())
    _, losses = trainer.model(*trainer.parse_batch_train(batch))
    assert {"loss", "acc", *losses, *trainer.model.monitors} == set(summary)
    assert summary["loss"] == pytest.approx(sum(summary[name] for name in losses), rel=1e-5)


def test_non_finite_loss_is_named(learning, make_trainer):
    trainer = make_trainer(learning.trainer, *learning.options)
    batch = default_collate([trainer.train_loader_x.dataset[i] for i in (0, 7, 14, 21)])
    batch["img"][0][:] = float("nan")  # the first picture, or the first view of all
    trainer.epoch, trainer.batch_idx, trainer.num_batches = 4, 1, 2
    with pytest.raises(FloatingPointError, match=f"{learning.first_term} became nan in epoch 5, batch 2: lower OPTIM"):
        trainer.forward_backward(batch).items()


def test_features_do_not_outlive_an_evaluation(learning, make_trainer):
    trainer = make_trainer(learning.trainer, *learning.options)
    images = torch.stack([trainer.test_loader.dataset[i]["img"] for i in range(4)])
    trainer.test()
    with torch.no_grad():
        before = trainer.model_inference(images)
        for parameter in trainer.model.prompt_learner.parameters():
            parameter.add_(torch.randn_like(parameter))
        after = trainer.model_inference(images)
    assert not torch.allclose(before, after)
