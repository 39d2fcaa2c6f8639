"""What is exported gives the run's logits, in batches of any size, or is not written."""

import builtins
import json

import onnx
import onnxruntime
import pytest
import torch
import torchvision.transforms as T
from safetensors import safe_open

from dassl.engine import TRAINER_REGISTRY
from inference import export
from inference.api import load_run
from inference.export import BATCHES, TOLERANCE, export_run, facts, pictures, transform_facts
from tests.tiny import CLASSNAMES
from tests.trainers.methods import METHODS, often
from trainers.backbone.clip_loader import load_clip
from trainers.errors import UserError
from trainers.prompting.model import PromptedCLIP

PLAIN_OR_NOT = {True: [], False: []}
for key, method in METHODS.items():
    encode_image = TRAINER_REGISTRY.get(method.trainer).custom_clip.encode_image
    if not key.startswith(("cocoop", "dept")):
        PLAIN_OR_NOT[encode_image is PromptedCLIP.encode_image].append(key)
PLAIN, LEARNED_IMAGE_SIDE = PLAIN_OR_NOT[True], [key for key in PLAIN_OR_NOT[False] if "-" not in key]
MORE_THAN_TEXT = ["tipadapter", "tipadapter_f", "linear_probe"]
# Programs of methods that leave the image side as it is differ in one constant
WHOLE = [(key, ".pt2") for key in [*PLAIN, "cocoop", "dept", *LEARNED_IMAGE_SIDE]] + [
    (key, ".onnx") for key in ["e2mim", "cocoop", "dept-sep", *MORE_THAN_TEXT, *LEARNED_IMAGE_SIDE]
]
QUICK = [("coop", ".pt2")]
IMAGES = torch.randn(7, 3, 32, 32, generator=torch.Generator().manual_seed(0)).clamp(-1.5, 1.5)  # as normalised


def opened(path):
    """Images -> logits and what else the file says, by nothing but the file."""
    if path.endswith(".onnx"):
        onnx.checker.check_model(path, full_check=True)
        session = onnxruntime.InferenceSession(path)
        (image,), (logits,) = session.get_inputs(), session.get_outputs()
        assert (image.name, image.shape, image.type) == ("image", ["batch", 3, 32, 32], "tensor(float)")
        assert (logits.name, logits.shape) == ("logits", ["batch", len(CLASSNAMES)])
        said = session.get_modelmeta().custom_metadata_map
        return lambda images: torch.from_numpy(session.run(None, {"image": images.numpy()})[0]), said
    said = dict.fromkeys(["method", "backbone", "activation", "classnames", "logit_scale", "transform"], "")
    return torch.export.load(path, extra_files=said).module(), said


@pytest.mark.parametrize("key, ending", often(WHOLE, QUICK), ids=str)
def test_a_whole_model(run, key, ending, tmp_path):
    folder, path = run(METHODS[key])[0], str(tmp_path / f"new/model{ending}")
    done = export_run(folder, path)
    assert done.path == path and done.classnames == CLASSNAMES and done.difference <= TOLERANCE
    model, (logits_of, said) = load_run(folder), opened(path)
    assert said == facts(model) and json.loads(said["classnames"]) == CLASSNAMES
    for n in (1, 2, 7):  # it was traced with two
        torch.testing.assert_close(logits_of(IMAGES[:n]), model.logits(IMAGES[:n]), atol=1e-4, rtol=0)
    for shape in [(3, 16, 16), (3, 64, 64), (3, 32, 48), (1, 32, 32)]:  # of no picture that the run could see
        with pytest.raises(Exception, match="image"):
            logits_of(torch.zeros(2, *shape))
    if ending == ".pt2" and key != "cocoop":  # what no picture changes is left behind
        kept = torch.export.load(path).state_dict
        assert not [name for name in kept if "text_e" in name or "hand" in name or "sequences" in name]


@pytest.mark.parametrize("key", [key for key in PLAIN if key not in MORE_THAN_TEXT])
def test_a_classifier_goes_with_a_plain_clip(run, key, tmp_path):
    folder, path = run(METHODS[key])[0], str(tmp_path / "classifier.safetensors")
    assert export_run(folder, path).difference <= TOLERANCE
    model = load_run(folder)
    with safe_open(path, "pt") as file:
        said, classifier = file.metadata(), file.get_tensor("classifier")
    assert said == facts(model) and said["method"] == METHODS[key].trainer
    features = load_clip(said["backbone"], said["activation"]).encode_image(IMAGES)
    cosines = features / features.norm(dim=1, keepdim=True) @ classifier.t()
    torch.testing.assert_close(float(said["logit_scale"]) * cosines, model.logits(IMAGES), atol=1e-4, rtol=0)


@pytest.mark.parametrize("ending", often([".safetensors", ".pt2", ".onnx"], [".safetensors"]))
def test_a_resnet(run, weights, ending, tmp_path):
    folder = run(METHODS["coop"], "MODEL.BACKBONE.NAME", weights["resnet"])[0]
    assert export_run(folder, str(tmp_path / f"resnet{ending}")).difference <= TOLERANCE


def test_two_views_are_one_matrix_whose_rows_are_shorter_than_one(run, tmp_path):
    """E2MIM's logits are the mean of two views', and so the product with the mean of their features."""
    learn = ("OPTIM.LR", 0.1, "OPTIM.WARMUP_EPOCH", 0)  # so that the views differ
    folder, path = run(METHODS["e2mim"], *learn)[0], str(tmp_path / "e2mim.safetensors")
    export_run(folder, path)
    with safe_open(path, "pt") as file:
        assert file.get_tensor("classifier").norm(dim=1).max() < 0.999


def test_other_classes(run, tmp_path):
    folder, path = run(METHODS["kgcoop"])[0], str(tmp_path / "a.safetensors")
    assert export_run(folder, path, ["red cat", "box"]).classnames == ["red cat", "box"]
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["classnames"]) == ["red cat", "box"]
        assert file.get_tensor("classifier").shape == (2, 32)


def test_a_head_of_the_training_classes(run, tmp_path):
    folder, path = run(METHODS["dept"])[0], str(tmp_path / "a.safetensors")
    with pytest.raises(UserError, match="DePT predicts by more than text"):
        export_run(folder, path)
    assert export_run(folder, path, ["red cat", "box"]).difference <= TOLERANCE


def test_half_precision_is_exported_in_float32(run, tmp_path):
    folder, path = run(METHODS["kgcoop"], "TRAINER.KGCOOP.PREC", "bf16")[0], str(tmp_path / "a.safetensors")
    export_run(folder, path)
    with safe_open(path, "pt") as file:
        classifier = file.get_tensor("classifier")
    assert torch.equal(classifier, load_run(folder, prec="fp32").encode_text())
    assert not torch.equal(classifier, load_run(folder).encode_text())


def test_the_transform_is_told(run):
    model = load_run(run(METHODS["zsclip"])[0])
    told = json.loads(facts(model)["transform"])
    again = T.Compose(
        [
            T.Resize(told["resize"], T.InterpolationMode(told["interpolation"])),
            T.CenterCrop(told["crop"]),
            T.ToTensor(),
            T.Normalize(told["mean"], told["std"]),
        ]
    )
    for picture in pictures():
        assert torch.equal(again(picture), model.transform(picture))


def test_a_transform_that_cannot_be_told():
    with pytest.raises(UserError, match="pass through Grayscale.*which an export cannot state"):
        transform_facts(T.Compose([T.CenterCrop(3), T.Grayscale()]))


def test_pictures_spread(run):
    """So that a wrong export shows: their logits lie far apart, and none is predicted like all others."""
    model = load_run(run(METHODS["zsclip"])[0])
    logits = model.logits(pictures())
    distances = (logits[:, None] - logits).abs().amax(dim=2) + torch.eye(len(logits))
    assert len(logits) == sum(BATCHES) == 16 and distances.min() > 100 * TOLERANCE


def test_what_is_not_the_runs_is_not_written(run, tmp_path, monkeypatch):
    folder, path = run(METHODS["coop"])[0], tmp_path / "a.safetensors"
    path.write_text("an older export")

    def read(content, model):
        logits_of = export.read_classifier(content, model)
        return lambda images: logits_of(images) + 2e-4 * (len(images) == 4)  # a batch of another size than one or all

    write = export.write_classifier
    monkeypatch.setitem(export.FORMATS, ".safetensors", export.Format(write, read))
    with pytest.raises(
        UserError, match=r"logits differ from the run's by 2.0e-04, and may by 1e-04: it is not written"
    ):
        export_run(folder, str(path))
    nan = export.Format(write, lambda *_: lambda images: torch.full((len(images), 6), float("nan")))
    monkeypatch.setitem(export.FORMATS, ".safetensors", nan)
    with pytest.raises(UserError, match="differ from the run's by nan"):
        export_run(folder, str(path))
    assert path.read_text() == "an older export" and not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize(
    "key, name, sentence",
    [
        ("maple", "a.safetensors", "MaPLe has learned on the image side, too, .*export an .onnx or a .pt2"),
        ("sep", "a.safetensors", "SEP has learned on the image side"),
        ("cocoop", "a.safetensors", "CoCoOp has no text features of its own"),
        *((key, "a.safetensors", "predicts by more than text") for key in MORE_THAN_TEXT),
        pytest.param(
            *("sep-released", "a.pt2", "SEP of this run judges a picture by the others of its batch"),
            marks=pytest.mark.long,
        ),
    ],
)
def test_what_cannot_be(run, key, name, sentence, tmp_path):
    with pytest.raises(UserError, match=sentence):
        export_run(run(METHODS[key])[0], str(tmp_path / name))
    assert not (tmp_path / name).exists()


def test_endings_and_devices(tmp_path):
    with pytest.raises(UserError, match='let "a.bin" end in .safetensors or .onnx or .pt2'):
        export_run("none", "a.bin")
    with pytest.raises(UserError, match="Only a .pt2 is made for a device, and a .onnx runs on any"):
        export_run("none", "a.onnx", device="cpu")


def test_onnx_is_optional(run, tmp_path, monkeypatch):
    folder, actual = run(METHODS["coop"])[0], builtins.__import__

    def missing(name, *args, **options):
        if name.startswith("onnx"):
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
        return actual(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UserError, match="ONNX needs the package onnx: pip install onnx onnxruntime onnxscript, or"):
        export_run(folder, str(tmp_path / "a.onnx"))


def test_what_one_onnx_file_cannot_hold(run, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "ONNX_LIMIT", 1000)
    with pytest.raises(UserError, match="The model has 0.0 GiB, and an .onnx holds 2 GiB: export a .pt2"):
        export_run(run(METHODS["coop"])[0], str(tmp_path / "a.onnx"))
