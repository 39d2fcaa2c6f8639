"""PromptKD beyond the battery: its authors' numbers, what it learns from, and what it keeps of that."""

import json
import shutil

import numpy as np
import pytest
import torch

import trainers.promptkd
from dassl.config import get_cfg_default
from inference.api import load_run
from tests.golden.compare import assert_theirs, golden, golden_images
from tests.golden.formula import clip_array, clip_shapes, fill
from tests.tiny import CLASSNAMES
from tests.trainers.methods import METHODS
from trainers.errors import MissingFile, UserError
from trainers.run import checkpoint
from trainers.run.experiment import run_key, settings_of
from zoo.convert import match

TEACHER_RUN = run_key("TRAINER.PROMPTKD.TEACHER")
OPTIONS = METHODS["promptkd"].options
BASE = ("DATASET.SUBSAMPLE_CLASSES", "base")


# ---- against the authors' code ---------------------------------------------------------------------------------


def golden_teacher(folder, info, golden_clip):
    """`folder` becomes a run of PromptSRC on a CLIP with features of 768 numbers, its prompts filled by formula."""
    weights, cfg = folder / "clip.pt", get_cfg_default()
    shapes, state = clip_shapes(info["teacher_geometry"]), golden_clip.state_dict()
    for name in ("text_projection", "visual.proj"):  # where the formula gives another one
        state[name] = torch.from_numpy(clip_array(name, shapes[name]))
    assert all(state[name].shape == shape for name, shape in shapes.items())
    torch.save(state, weights)
    options = ["TRAINER.NAME", "PromptSRC", "TRAINER.PROMPTSRC.PREC", "fp32", "INPUT.SIZE", (64, 64)]
    cfg.merge_from_list([*options, "MODEL.BACKBONE.NAME", str(weights), "MODEL.BACKBONE.ACTIVATION", "quickgelu"])
    cfg.OPTIM.MAX_EPOCH = 1
    theirs = {p["name"]: p for p in info["teacher_parameters"]}
    taken, _ = match("", "PromptSRC", theirs)
    learned = {ours: fill(theirs[name]["filled_from"], theirs[name]["shape"]) for name, (ours, _) in taken.items()}
    assert len(learned) == len(theirs)
    state = {"state_dict": learned, "epoch": 1, "settings": settings_of(cfg, ["PROMPTSRC"])}
    checkpoint.write(state, checkpoint.path_of(str(folder / "prompt_learner"), 1))
    (folder / "config.yaml").write_text(cfg.dump())
    return str(folder)


def test_golden_numbers(golden_clip, tmp_path):
    info, expected = golden("promptkd")
    image, names, theirs = golden_images(), info["classnames"], info["cfg"]["TRAINER"]
    cfg = get_cfg_default()
    teacher = golden_teacher(tmp_path, info, golden_clip)
    cfg.merge_from_list(["INPUT.SIZE", (64, 64), "TRAINER.PROMPTKD.TEACHER", teacher])
    for key in ("KD_WEIGHT", "TEMPERATURE", "PREC"):
        cfg.TRAINER.PROMPTKD[key] = theirs["PROMPTKD"][key]
    model = trainers.promptkd.CustomCLIP(cfg, names, golden_clip).eval()

    ours = {"image_encoder.VPT": "ctx_visual.0"}
    ours.update({f"image_encoder.transformer.resblocks.{i}.VPT_shallow": f"ctx_visual.{i}" for i in range(1, 9)})
    state = model.prompt_learner.state_dict()
    for p in [*info["parameters"], *info["buffers"]]:
        name = ours.setdefault(p["name"], p["name"].replace("VPT_image_trans.conv1", "projector"))
        assert list(state[name].shape) == p["shape"]
        state[name] = fill(p["filled_from"], p["shape"])
    assert state.keys() - set(ours.values()) == {"projector.1.num_batches_tracked"}
    model.prompt_learner.load_state_dict(state)

    def close(actual, name, atol=1e-4):
        np.testing.assert_allclose(actual.detach(), expected[name], atol=atol, rtol=0)

    close(model.teacher.text_features, "text_features", 1e-6)
    close(model.teacher.logits(image), "teacher_logits6")
    for n in (6, 3, 1):
        with torch.no_grad():
            logits = model(image[:n])
        close(logits[:, :3], f"logits_val{n}")
        close(logits[:, 3:], f"logits_test{n}")

    logits, losses = model.train()(image, torch.tensor(info["labels"]))
    close((logits / cfg.TRAINER.PROMPTKD.TEMPERATURE).log_softmax(dim=1), "train_log_softmax")
    assert losses["kd"].item() == pytest.approx(info["loss_total"], abs=1e-4)
    for name in ("running_mean", "running_var"):
        close(getattr(model.prompt_learner.projector[1], name), f"after_step/{name}")
    model.backward(losses)
    parameters = dict(model.prompt_learner.named_parameters())
    assert len(parameters) == len(info["parameters"])
    for p in info["parameters"]:
        gradient = parameters[ours[p["name"]]].grad
        if p["name"] == "VPT_image_trans.conv1.0.bias":  # the batch norm behind it takes it away: 0 but for rounding
            assert expected[f"grad_norm/{p['name']}"] < 1e-5 and gradient.norm() < 1e-4
            continue
        assert_theirs(gradient, expected, "grad", p["name"])


# ---- what it learns from ---------------------------------------------------------------------------------------


@pytest.fixture
def teach(make_trainer, finished_run, tmp_path):
    """teach(row of methods.py or its name, KEY, value, ...) -> folder of a run of its that was trained for an epoch."""

    def make(row, *options, name="taught"):
        row = METHODS[row]
        made = finished_run(make_trainer, row.trainer, *row.options, "OPTIM.MAX_EPOCH", 1, *options)
        return str(shutil.copytree(made, tmp_path / name))

    return make


@pytest.fixture
def distil(make_trainer):
    """distil(teacher's folder, KEY, value, ...) -> a trainer of PromptKD, of an epoch."""

    def make(teacher, *options, **kwargs):
        options = (*OPTIONS, "TRAINER.PROMPTKD.TEACHER", teacher, "OPTIM.MAX_EPOCH", 1, *options)
        return make_trainer("PromptKD", *options, **kwargs)

    return make


def test_all_training_images_of_all_classes_and_no_label(teach, distil, tmp_path, monkeypatch):
    teacher = teach("promptsrc", *BASE)
    options = (*BASE, "DATASET.NUM_SHOTS", 2)
    trainer = distil(teacher, *options, output=tmp_path / "one")
    images = trainer.train_loader_x.dataset.data_source
    assert len(images) == 36 and {item.classname for item in images} == set(CLASSNAMES)
    assert trainer.dm.dataset.classnames == CLASSNAMES[:3] and len(trainer.test_loader.dataset) == 9
    trainer.train()

    again = distil(teacher, *options, output=tmp_path / "two")
    seen = []

    def other_labels(batch, parse=again.parse_batch_train):
        seen.append(len(batch["img"]))
        return parse({**batch, "label": None})

    monkeypatch.setattr(again, "parse_batch_train", other_labels)
    again.train()
    assert seen == [8] * 4
    for name, value in trainer.model.prompt_learner.state_dict().items():
        assert torch.equal(value, again.model.prompt_learner.state_dict()[name]), name


def test_across_data_sets(teach, distil, tmp_path, monkeypatch):
    """By a teacher of another data set; the record names it, and its labels of all classes are no reason to refuse."""
    teacher = teach("promptsrc", "DATASET.NUM_SHOTS", 2)
    trainer = distil(teacher, "DATASET.SUBSAMPLE_CLASSES", "all", output=tmp_path / "target")
    assert len(trainer.train_loader_x.dataset.data_source) == 36 and len(trainer.test_loader.dataset) == 18
    trainer.train()
    record = json.loads((tmp_path / "target/metrics.json").read_text())
    assert record["teacher"] == teacher and record["n"] == 18 and "sample" not in record


@pytest.mark.parametrize("row", ["promptsrc", "sep", "coop", "zsclip"])
def test_the_teacher_is_the_run_as_it_was(row, teach, distil, tmp_path):
    """Its logits and text features are those of the run itself, on classes that it was not trained on as well."""
    folder = teach(row, *(BASE if METHODS[row].learns else ()))
    trainer = distil(folder, *BASE, output=tmp_path / "run")
    model, itself = trainer.model, load_run(folder, CLASSNAMES)
    trainer.train()
    image = torch.randn(4, 3, 32, 32).clamp(-1.5, 1.5)  # as normalised
    torch.testing.assert_close(model.teacher.logits(image), itself.logits(image), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model.training_only["classes"].vectors, itself.encode_text())
    with torch.no_grad():  # the student's own logits are of the base classes, compared with the same vectors
        f = model.eval().encode_image(image)
        expected = model.logit_scale.exp() * f @ itself.encode_text()[:3].t()
        torch.testing.assert_close(model(image), expected)


def test_the_loss(build):
    """KD_WEIGHT T^2 KL(teacher || student) over all logits of the batch, by its definition."""
    options = ("TRAINER.PROMPTKD.KD_WEIGHT", 50.0, "TRAINER.PROMPTKD.TEMPERATURE", 3.0)
    model, image = build("promptkd", *options), torch.randn(8, 3, 32, 32)
    s, losses = model(image, torch.zeros(8))
    p, q = ((logits / 3).softmax(dim=1) for logits in (model.teacher.logits(image), s))
    expected = 50 * 9 * (p * (p / q).log()).sum() / (8 * len(CLASSNAMES))
    torch.testing.assert_close(losses["kd"], expected)


def test_an_image_is_shown_to_the_teacher_once(teach, distil, monkeypatch, tmp_path):
    trainer, calls = distil(teach("promptsrc", *BASE), *BASE, output=tmp_path / "run"), []
    original = trainer.model.teacher.logits
    monkeypatch.setattr(trainer.model.teacher, "logits", lambda pixels: calls.append(pixels) or original(pixels))
    trainer.train()
    assert len(calls) == len(trainer.train_loader_x)


def test_the_teacher_is_no_part_of_the_student(teach, distil, tmp_path):
    trainer = distil(teach("promptsrc", *BASE), *BASE, output=tmp_path / "run")
    before = {name: value.clone() for name, value in trainer.model.teacher.model.state_dict().items()}
    names = set(trainer.model.state_dict())
    trainer.train()
    assert set(trainer.model.state_dict()) == names and not any("teacher" in name for name in names)
    assert all(torch.equal(before[name], value) for name, value in trainer.model.teacher.model.state_dict().items())
    trained = {id(p) for group in trainer.optim.param_groups for p in group["params"]}
    assert trained == {id(p) for p in trainer.model.prompt_learner.parameters()}


# ---- what it keeps of it ---------------------------------------------------------------------------------------


def test_new_classes_are_found_by_name_without_the_teacher(teach, distil, tmp_path):
    teacher = teach("promptsrc", *BASE)
    trainer = distil(teacher, *BASE, output=tmp_path / "run")
    trainer.train()
    vectors = load_run(teacher, CLASSNAMES).encode_text()
    shutil.rmtree(teacher)
    tester = distil("", "DATASET.SUBSAMPLE_CLASSES", "new", output=tmp_path / "test")
    tester.load_model(str(tmp_path / "run"))
    tester.test()
    record = json.loads((tmp_path / "test/metrics.json").read_text())
    assert record["n"] == 9 and record["classnames"] == CLASSNAMES[3:]
    torch.testing.assert_close(tester.model.encode_text(), vectors[3:])
    (tmp_path / "run/config.yaml").write_text(trainer.cfg.dump())  # it still names the teacher
    for names in (CLASSNAMES[::-1], CLASSNAMES[4:5] + CLASSNAMES[:2]):
        wanted = vectors[[CLASSNAMES.index(name) for name in names]]
        torch.testing.assert_close(load_run(tmp_path / "run", names).encode_text(), wanted)
    with pytest.raises(UserError, match='class vectors of the 6 classes .* "unicorn" is none of them: test it on'):
        load_run(tmp_path / "run", ["cat", "unicorn"])


def test_settings_name_the_teachers_run_and_not_its_place(teach, distil, tmp_path):
    """So that seeds, each with its own teacher, may be averaged, and students of other teachers not."""
    first, moved = teach("promptsrc", *BASE), str(tmp_path / "moved")
    shutil.copytree(first, moved)
    second = teach("promptsrc", *BASE, "SEED", 2, name="second")
    other = teach("promptsrc", *BASE, "OPTIM.LR", 0.5, name="other")
    said = [distil(folder, *BASE).settings for folder in (first, moved, second, other, "")]
    assert said[0] == said[1] == said[2] and said[0][TEACHER_RUN].startswith("PromptSRC ")
    assert said[3][TEACHER_RUN] != said[0][TEACHER_RUN] and TEACHER_RUN not in said[4]
    assert "TRAINER.PROMPTKD.TEACHER" not in said[0]


def test_another_teacher_does_not_go_on_with_a_run(teach, distil, tmp_path):
    first = teach("promptsrc", *BASE)
    second = teach("promptsrc", *BASE, "SEED", 2, "OPTIM.LR", 0.2, "OPTIM.WARMUP_EPOCH", -1, name="second")
    for folder in (first, second):  # as if the settings were the same
        record = json.loads((tmp_path / folder / "metrics.json").read_text())
        (tmp_path / folder / "metrics.json").write_text(json.dumps({**record, "settings": {}}))
    distil(first, *BASE, output=tmp_path / "run").train()
    distil(first, *BASE, output=tmp_path / "run").train()
    with pytest.raises(UserError, match="has learned from a teacher with other text features than .*second"):
        distil(second, *BASE, output=tmp_path / "run").train()


# ---- what cannot teach -----------------------------------------------------------------------------------------


def test_no_teacher(distil, tmp_path):
    with pytest.raises(UserError, match="learns from a trained run: give its folder as TRAINER.PROMPTKD.TEACHER"):
        distil("").train()
    with pytest.raises(MissingFile, match="nowhere.* is no folder of a run, as it has no config.yaml"):
        distil(str(tmp_path / "nowhere")).train()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/config.yaml").write_text(
        "TRAINER:\n  NAME: MCD\nINPUT:\n  SIZE: [32, 32]\n  TRANSFORMS: [normalize]\n"
    )
    with pytest.raises(UserError, match='foreign" is a run of trainer MCD, whose prompts cannot be loaded'):
        distil(str(tmp_path / "foreign")).train()
    (tmp_path / "foreign/config.yaml").write_text("TRAINER: [\n")
    with pytest.raises(UserError, match="is no config of a run"):
        distil(str(tmp_path / "foreign")).train()


@pytest.mark.parametrize(
    ("row", "options", "sentence"),
    [
        ("cocoop", (), "is a run of CoCoOp, which predicts by more than text features"),
        ("promptsrc", ("TRAINER.PROMPTKD.TEACHER_DIM", 33), "has features of 32 numbers: set .* to 32 .it is 33"),
        ("promptsrc", ("INPUT.PIXEL_STD", [0.5, 0.5, 0.5]), "takes pictures with INPUT.PIXEL_STD .*0.229"),
        ("promptsrc", ("INPUT.TRANSFORMS", ["random_flip"]), r"INPUT.TRANSFORMS \['normalize'\], but the student \[\]"),
        ("promptsrc", BASE, "trained with labels of all classes of TinyData, and new ones are to be without"),
    ],
)
def test_teachers_that_are_refused(row, options, sentence, teach, distil):
    with pytest.raises(UserError, match=sentence):
        distil(teach(row), *options).train()


def test_a_batch_of_one(distil):
    with pytest.raises(UserError, match="has a batch norm: set DATALOADER.TRAIN_X.BATCH_SIZE to 2 or more"):
        distil("", "DATALOADER.TRAIN_X.BATCH_SIZE", 1)


def test_class_vectors_that_are_not_finite(teach, distil, tmp_path):
    distil(teach("promptsrc", *BASE), *BASE, output=tmp_path / "run").train()
    path = checkpoint.path_of(str(tmp_path / "run/prompt_learner"), 1)
    state = checkpoint.read(path)
    state["training"]["modules"]["classes.vectors"][0, 0] = float("nan")
    checkpoint.write(state, path)
    with pytest.raises(UserError, match="holds infinite or NaN class vectors"):
        distil("", output=tmp_path / "test").load_model(str(tmp_path / "run"))
