import copy

import numpy as np
import pytest
import torch

import trainers.dept
from dassl.config import get_cfg_default
from harness.catalogue import method
from inference.api import load_run
from tests.golden.compare import assert_theirs, golden, golden_images
from tests.golden.formula import fill
from tests.tiny import CLASSNAMES
from tests.trainers.methods import METHODS
from trainers.dept import BASES
from trainers.errors import UserError
from trainers.run import checkpoint
from zoo.convert import match

OWN = {row.trainer: row.options for row in reversed(METHODS.values())}  # what makes a base fit the tiny CLIP


def options_of(base, *options):
    return ("TRAINER.DEPT.BASE", base, *OWN[base], *options)


@pytest.fixture
def batch():
    torch.manual_seed(1)
    return torch.randn(8, 3, 32, 32), torch.tensor([0, 1, 2, 3, 4, 5, 0, 1])


@pytest.fixture
def wrap(make_cfg, tiny_clip):
    """wrap(base, KEY, value, ...) -> DePT's CustomCLIP around it."""

    def make(base, *options, classnames=CLASSNAMES):
        cfg, clip_model = make_cfg("DePT", *options_of(base, *options)), tiny_clip()
        torch.manual_seed(0)
        return trainers.dept.CustomCLIP(cfg, classnames, clip_model)

    return make


def test_the_catalogue_has_settings_of_every_base():
    assert method("dept").bases == BASES


# ---- against the authors' code ---------------------------------------------------------------------------------

HEAD = {  # theirs -> ours
    "film_lp_img.scale": "cat.image.scale",
    "film_lp_img.bias": "cat.image.shift",
    "film_lp_text.scale": "cat.text.scale",
    "film_lp_text.bias": "cat.text.shift",
    "linear_probe_proj.weight": "cat.linear.weight",
    "linear_probe_proj.bias": "cat.linear.bias",
}
LOSS_PARTS = {"ce": "weighted_loss_cls", "cat": "weighted_loss_cls_lp", "kg": "kg_weight_times_loss_kg"}
OPTIONS = {
    "CoOp": ("TRAINER.COOP.N_CTX", 4),
    "KgCoOp": ("TRAINER.KGCOOP.W", 2.0),
    "MaPLe": (),
}


@pytest.mark.parametrize("base", OPTIONS)
def test_golden_numbers(base, golden_clip):
    info, expected = golden(f"dept_{base.lower()}")
    image, label = golden_images(), torch.tensor(info["labels"])
    cfg = get_cfg_default()
    options = ["TRAINER.DEPT.BASE", base, *OPTIONS[base], "DATASET.NAME", "Caltech101", "INPUT.SIZE", (64, 64)]
    cfg.merge_from_list(options)
    model = trainers.dept.CustomCLIP(cfg, info["classnames"], golden_clip).eval()

    parameters = {p["name"]: p for p in info["parameters"]}
    learned = {n if base == "MaPLe" else n.partition(".")[2]: n for n in parameters if n not in HEAD}
    taken, _ = match("", base, learned)
    ours = {learned[theirs]: f"prompt_learner.{name}" for theirs, (name, _) in taken.items()}
    ours.update({theirs: f"training_only.{name}" for theirs, name in HEAD.items()})
    own = {n: p for n, p in model.named_parameters() if n.startswith(("prompt_learner.", "training_only."))}
    assert ours.keys() == parameters.keys() and set(ours.values()) == own.keys()
    for theirs, p in parameters.items():
        own[ours[theirs]].data.copy_(fill(p["filled_from"], p["shape"]))

    for model.fuses, kind in ((True, "logits_eval"), (False, "logits_new")):
        for n in (6, 3, 1):
            with torch.no_grad():
                np.testing.assert_allclose(model(image[:n]), expected[f"{kind}{n}"], atol=1e-4, rtol=0)
    logits, losses = model.train()(image, label)
    of_images = expected["train_logits_head"][len(label) :]
    np.testing.assert_allclose(logits.detach(), 0.3 * expected["train_logits"] + 0.7 * of_images, atol=1e-4, rtol=0)
    for term, value in losses.items():
        assert value.item() == pytest.approx(info["loss_parts"][LOSS_PARTS[term]], abs=1e-4), term
    assert sum(losses.values()).item() == pytest.approx(info["loss_total"], abs=1e-4)
    model.backward(losses)
    for theirs, name in ours.items():
        assert_theirs(own[name].grad, expected, "grad", theirs)


# ---- every base --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", BASES)
def test_without_a_share_of_the_head_it_is_its_base(wrap, build, batch, base):
    """The same prompts, losses and gradients to the last bit; and a copy is as the first."""
    key = next(key for key, row in METHODS.items() if row.trainer == base)
    alone, inside = build(key), wrap(base, "TRAINER.DEPT.WEIGHT", 0.0)
    for model in (alone, copy.deepcopy(inside)):
        torch.manual_seed(2)  # of E2MIM's Mixup
        logits, losses = model(*batch)
        model.backward(losses)
        gradients = [p.grad for p in model.prompt_learner.parameters()]
        if model is alone:
            expected = logits, losses, gradients
    assert torch.equal(logits, expected[0]) and all(map(torch.equal, gradients, expected[2]))
    assert losses.pop("cat") == 0 and losses == expected[1]
    assert alone.reads_pixels(True) == inside.reads_pixels(True)


@pytest.mark.parametrize("base", BASES)
def test_the_head_reads_what_the_base_classifies_with(wrap, batch, base):
    """At the length of the encoder's output: where BASE takes that as it is, the head reads it as it is."""
    model, read, outputs = wrap(base), {}, {}
    for name in ("image", "text"):
        transform, encoder = getattr(model.training_only["cat"], name), getattr(model, f"{name}_encoder")
        transform.register_forward_pre_hook(lambda _, args, name=name: read.setdefault(name, args[0].detach()))
        # of the image encoder, the pass with tokens comes first, but for SEP
        encoder.register_forward_hook(lambda *args, name=name: outputs.setdefault(name, []).append(args[2].detach()))
    model(*batch)
    image, text = outputs["image"][base == "SEP"], outputs["text"][0][batch[1]]
    with torch.no_grad():
        f, g = model.encode_image(batch[0]), model.encode_text()[batch[1]]
    for found, unit, output in ((read["image"], f, image), (read["text"], g, text)):
        torch.testing.assert_close(found, unit * output.norm(dim=-1, keepdim=True))
    if base not in ("SEP", "E2MIM"):
        torch.testing.assert_close(read["text"], text)
    if base != "SEP":
        torch.testing.assert_close(read["image"], image)


def test_a_base_keeps_its_trainer(make_trainer):
    """PromptSRC's prompts end as the weighted sum of the epochs', SEP's prototypes start at the class means."""
    trainer = make_trainer("DePT", *options_of("PromptSRC"))
    trainer.train()
    aggregate = trainer.model.training_only["aggregate"]
    for total, parameter in zip(aggregate.buffers(), trainer.model.prompt_learner.parameters()):
        assert total.abs().sum() > 0 and torch.equal(total, parameter)
    trainer = make_trainer("DePT", *options_of("SEP"))
    with torch.no_grad():
        trainer.prepare_training()
    prototypes = trainer.model.training_only["prototypes"].weight
    torch.testing.assert_close(prototypes.norm(dim=-1), torch.ones(len(CLASSNAMES)))


# ---- tests on the training classes, and on others ----------------------------------------------------------------


@pytest.fixture
def run(make_trainer, tmp_path):
    """A finished training on the base classes: its trainer."""
    base = ("DATASET.SUBSAMPLE_CLASSES", "base", "TEST.SAVE_PREDICTIONS", True, "OPTIM.LR", 0.05)
    trainer = make_trainer("DePT", *options_of("CoOp", *base), output=tmp_path / "run")
    trainer.train()
    (tmp_path / "run/config.yaml").write_text(trainer.cfg.dump())
    return trainer


def images_of(trainer):
    return torch.stack([trainer.test_loader.dataset[i]["img"] for i in range(9)])


@torch.no_grad()
def matching(trainer, images):
    """Logits of image-text matching, of a trainer."""
    model = trainer.model.eval()
    return model.logits(model.encode_image(images), model.encode_text())


def test_training_classes_are_predicted_by_both_and_others_by_matching(run, make_trainer, tmp_path):
    images, head = images_of(run), run.model.training_only["cat"]
    with torch.no_grad():
        fused = run.model_inference(images)
        raw = run.model.image_encoder(images).float()
        torch.testing.assert_close(fused, 0.3 * matching(run, images) + 0.7 * head.of_images(raw))
    assert (fused - matching(run, images)).abs().max() > 0.1
    assert np.array_equal(np.load(tmp_path / "run/predictions.npz")["logits"], fused)

    for classes in ("base", "new", "all"):
        options = options_of("CoOp", "DATASET.SUBSAMPLE_CLASSES", classes, "OPTIM.LR", 0.05)
        test = make_trainer("DePT", *options, output=tmp_path / classes)
        test.load_model(str(tmp_path / "run"))
        with torch.no_grad():
            logits = test.model_inference(images)
        assert torch.equal(logits, fused if classes == "base" else matching(test, images))


def test_some_of_the_training_classes_in_another_order(run, tmp_path):
    """As ImageNet-A and -R have some of ImageNet's."""
    images = images_of(run)
    logits = load_run(tmp_path / "run").logits(images)
    names = run.model.classnames
    assert names == CLASSNAMES[:3]
    some = load_run(tmp_path / "run", [names[2], names[0]]).logits(images)
    torch.testing.assert_close(some, logits[:, [2, 0]], atol=1e-4, rtol=0)
    other = load_run(tmp_path / "run", [names[2], "yak"]).logits(images)
    assert (other[:, 0] - logits[:, 2]).abs().max() > 0.01


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda modules: modules.pop("cat.linear.bias"), "linear.bias is nothing there"),
        (lambda modules: modules["cat.image.scale"].fill_(float("nan")), "holds infinite or NaN weights .cat.image"),
        (
            lambda modules: modules.update({"cat.linear.weight": torch.zeros(2, 32)}),
            r"linear.weight is \(2, 32\) there",
        ),
    ],
)
def test_a_head_that_is_none(run, make_trainer, tmp_path, change, sentence):
    path = checkpoint.path_of(str(tmp_path / "run/prompt_learner"), 3)
    state = checkpoint.read(path)
    change(state["training"]["modules"])
    checkpoint.write(state, path)
    options = options_of("CoOp", "OPTIM.LR", 0.05, "DATASET.SUBSAMPLE_CLASSES")
    with pytest.raises(UserError, match=sentence):
        make_trainer("DePT", *options, "base", output=tmp_path / "base").load_model(str(tmp_path / "run"))
    make_trainer("DePT", *options, "new", output=tmp_path / "new").load_model(str(tmp_path / "run"))


# ---- settings ----------------------------------------------------------------------------------------------------


def test_another_base_is_another_experiment(run, make_trainer, tmp_path):
    settings = run.settings
    nodes = {key.split(".")[1] for key in settings if key.startswith("TRAINER.")}
    assert nodes == {"NAME", "DEPT", "COOP"} and settings["TRAINER.COOP.N_CTX"] == 4
    options = options_of("KgCoOp", "OPTIM.LR", 0.05, "DATASET.SUBSAMPLE_CLASSES", "base")
    with pytest.raises(UserError, match="was trained with TRAINER.DEPT.BASE 'CoOp', but this run has 'KgCoOp'"):
        make_trainer("DePT", *options, output=tmp_path / "run").train()


def test_the_head_learns_at_a_rate_of_its_own(make_trainer):
    staged = ("OPTIM.STAGED_LR", True, "OPTIM.NEW_LAYERS", ["cat"], "OPTIM.BASE_LR_MULT", 1 / 6.5, "OPTIM.LR", 0.02275)
    trainer = make_trainer("DePT", *options_of("SEP", *staged))
    rest, head = trainer.optim.param_groups
    assert [rest["initial_lr"], head["initial_lr"]] == [pytest.approx(0.0035), 0.02275]
    assert {id(p) for p in head["params"]} == {id(p) for p in trainer.model.training_only["cat"].parameters()}


@pytest.mark.parametrize("base", ["ProGrad", "DePT", "nothing"])
def test_what_cannot_be_wrapped(make_trainer, base):
    with pytest.raises(
        UserError, match=f'TRAINER.DEPT.BASE "{base}" is no trainer that DePT can wrap.* choose from CoO'
    ):
        make_trainer("DePT", "TRAINER.DEPT.BASE", base)


def test_a_trainer_of_the_forks_own(make_trainer, monkeypatch):
    monkeypatch.setitem(trainers.dept.TRAINER_REGISTRY._obj_map, "CoOp", type("CoOp", (), {}))
    with pytest.raises(UserError, match="or not one that was added together with it"):
        make_trainer("DePT")


def test_a_precision_that_nobody_reads(make_trainer):
    with pytest.raises(UserError, match="TRAINER.SEP.PREC is fp32, which DePT does not read: set TRAINER.DEPT.PREC"):
        make_trainer("DePT", *options_of("SEP", "TRAINER.SEP.PREC", "fp32"))
