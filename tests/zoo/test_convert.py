"""Names and shapes of the public code's files; test_golden.py checks by numbers that they mean the same."""

import re

import pytest
import torch

from tests.zoo import theirs
from trainers.errors import UserError
from trainers.files.torch_file import DamagedFile
from zoo.convert import convert

OPTIONS = {"SEP": [1]}  # LAYERS that fit the tiny CLIP


def converted(tmp_path, trainer, weights, layers=(), epoch=5, **more):
    return convert(theirs.save(tmp_path / "model.pth.tar-5", weights, epoch, **more), trainer, layers)


@pytest.mark.parametrize(
    "trainer, weights, settings",
    [
        ("CoOp", theirs.coop(16), {"COOP.N_CTX": 16, "COOP.CSC": False}),
        ("CoOp", theirs.coop(4, csc=True), {"COOP.N_CTX": 4, "COOP.CSC": True}),
        ("CoCoOp", theirs.cocoop(), {"COCOOP.N_CTX": 4}),
        ("KgCoOp", theirs.kgcoop(), {"KGCOOP.N_CTX": 4}),
        ("ProGrad", theirs.coop(16), {"PROGRAD.N_CTX": 16}),
        ("MaPLe", theirs.maple(2, 1), {"MAPLE.N_CTX": 2, "MAPLE.PROMPT_DEPTH": 1}),
        ("MaPLe", theirs.maple(3, 9), {"MAPLE.N_CTX": 3, "MAPLE.PROMPT_DEPTH": 9}),
        (
            "PromptSRC",
            theirs.promptsrc(4, 3, 2, 3),
            {
                "PROMPTSRC.N_CTX_TEXT": 4,
                "PROMPTSRC.N_CTX_VISION": 3,
                "PROMPTSRC.PROMPT_DEPTH_TEXT": 2,
                "PROMPTSRC.PROMPT_DEPTH_VISION": 3,
            },
        ),
        ("TCP", theirs.tcp(), {"TCP.N_CTX": 4}),
        ("SEP", theirs.sep(6, 4, 11), {"SEP.N_CTX": 6, "SEP.N_CTX_V": 4, "SEP.VARIANT": "released"}),
    ],
)
def test_settings_follow_from_shapes(tmp_path, trainer, weights, settings):
    found = converted(tmp_path, trainer, weights)
    assert found.settings == {f"TRAINER.{key}": value for key, value in settings.items()} and found.epoch == 5
    assert all(value.dtype == torch.float32 for value in found.weights.values())


@pytest.mark.parametrize("trainer", theirs.STATES)
def test_what_is_taken_fits_the_method(tmp_path, build, trainer):
    """Every parameter of the prompt learner here, and no other; SEP's modules under their layers."""
    weights = theirs.STATES[trainer]()
    found = converted(tmp_path, trainer, weights, OPTIONS.get(trainer, ()))
    options = [item for pair in found.settings.items() for item in pair]
    options += ["TRAINER.SEP.LAYERS", OPTIONS["SEP"]] if trainer == "SEP" else []
    options += ["TRAINER.TCP.LAYER", 1] if trainer == "TCP" else []
    model = build(trainer.lower(), *options)
    model.prompt_learner.load_state_dict(found.weights)
    assert len(found.ignored) == len(weights) - len(found.weights)


@pytest.mark.parametrize("trainer", theirs.STATES)
def test_each_missing_tensor_is_an_error(tmp_path, trainer):
    weights = theirs.STATES[trainer]()
    layers = OPTIONS.get(trainer, ())
    taken = set(weights) - set(converted(tmp_path, trainer, weights, layers).ignored)
    for name in sorted(taken)[:: max(1, len(taken) // 8)]:
        if re.search(r"compound|VPT_shallow", name):
            continue  # the last of a stack may be that of a shallower one; see below
        rest = {key: value for key, value in weights.items() if key != name}
        with pytest.raises(UserError, match=f'"{re.escape(name)}" is missing; name the trainer'):
            converted(tmp_path, trainer, rest, layers)


@pytest.mark.parametrize(
    "name", ["compound_prompts_text.0", "compound_prompt_projections.7.bias", "compound_prompts_text.7"]
)
def test_a_stack_has_no_holes(tmp_path, name):
    weights = theirs.maple(2, 9)
    del weights[f"prompt_learner.{name}"]
    with pytest.raises(UserError, match=f'"prompt_learner.{name}" is missing'):
        converted(tmp_path, "MaPLe", weights)


@pytest.mark.parametrize("trainer", theirs.STATES)
@pytest.mark.parametrize("name", ["adapter.weight", "prompt_learner.more", "image_encoder.layer1.weight", "ctx.1"])
def test_what_has_no_place_is_an_error(tmp_path, trainer, name):
    weights = {**theirs.STATES[trainer](), name: torch.zeros(2)}
    with pytest.raises(
        UserError, match=f'holds "{name}", which {trainer}\'s public code does not have: name the trainer'
    ):
        converted(tmp_path, trainer, weights, OPTIONS.get(trainer, ()))


@pytest.mark.parametrize(
    "trainer, name, value, sentence",
    [
        ("KgCoOp", "ctx", torch.zeros(6, 4, 64), r"of shape \(6, 4, 64\), where KgCoOp has \(n_ctx, width\)"),
        ("MaPLe", "prompt_learner.proj.bias", torch.zeros(63), r"\(63,\), where MaPLe has \(vision=64\)"),
        ("TCP", "meta_net.linear2.bias", torch.zeros(64), r"\(64,\), where TCP has \(n_ctx\*width=256\)"),
        ("CoOp", "ctx", torch.zeros(4, 64).long(), r"\(4, 64\) of whole numbers, where CoOp has"),
        ("CoOp", "ctx", torch.zeros(0, 64), r"\(0, 64\), where CoOp has"),
        ("CoOp", "ctx", torch.full((4, 64), float("nan")), r"infinite or NaN weights \(ctx\)"),
    ],
)
def test_shapes_and_numbers(tmp_path, trainer, name, value, sentence):
    with pytest.raises(UserError, match=f'Checkpoint ".*model.pth.tar-5" holds .*{sentence}.*: import another file'):
        converted(tmp_path, trainer, {**theirs.STATES[trainer](), name: value})


def test_sep_layers(tmp_path):
    """As many as there are trained modules; only 11 of them need no saying."""
    found = converted(tmp_path, "SEP", theirs.sep(trained=3), [3, 6, 9]).weights
    assert {name.split(".")[1] for name in found if name.startswith("text_enhancer")} == {"3", "6", "9"}
    second = theirs.sep(trained=3)["prompt_projections.1.scale1"]
    assert torch.equal(found["text_enhancer.6.scale_1"], second)
    with pytest.raises(
        UserError, match=r"trained with 3 LAYERS, and does not say which: give them, TRAINER.SEP.LAYERS"
    ):
        converted(tmp_path, "SEP", theirs.sep(trained=3))
    with pytest.raises(UserError, match="has trained fusion modules 0, 1, 2 .*not what 2 LAYERS leave behind"):
        converted(tmp_path, "SEP", theirs.sep(trained=3), [4, 8])
    with pytest.raises(UserError, match="has trained fusion modules none"):
        converted(tmp_path, "SEP", theirs.sep(trained=0), [4, 8])


@pytest.mark.parametrize(
    "content, sentence",
    [
        ([1], "holds a list where a dict is expected"),
        ({"epoch": 5}, 'none that Dassl wrote: it has no "state_dict"'),
        ({"state_dict": {"ctx": torch.zeros(2, 2)}}, 'none that Dassl wrote: it has no "epoch"'),
        ({"state_dict": {"ctx": 3}, "epoch": 5}, 'none that Dassl wrote: "state_dict" is no tensors by name'),
        ({"state_dict": {}, "epoch": "5"}, 'none that Dassl wrote: "epoch" is no number from 1'),
        ({"state_dict": {}, "epoch": 6}, "is of epoch 6, which is not that of its name"),
    ],
)
def test_what_is_no_checkpoint(tmp_path, content, sentence):
    torch.save(content, tmp_path / "model.pth.tar-5")
    with pytest.raises(UserError, match=f"{sentence}.*import another file"):
        convert(str(tmp_path / "model.pth.tar-5"), "CoOp")


@pytest.mark.parametrize("trainer", theirs.STATES)
@pytest.mark.parametrize("number", ["9999", "999999999", "9" * 5000])
def test_layers_of_any_number_are_soon_refused(tmp_path, trainer, number):
    """Whatever layer a file says that it has, none but its own are looked for."""
    weights = theirs.STATES[trainer]()
    numbered = [name for name in weights if re.search(r"\.\d+\.", name)] or ["ctx.1.weight"]
    weights.update({re.sub(r"\.\d+", f".{number}", name, count=1): torch.zeros(1) for name in numbered})
    with pytest.raises(UserError, match="is missing|does not have|has trained fusion modules"):
        converted(tmp_path, trainer, weights, OPTIONS.get(trainer, ()))


def test_files_that_are_not_whole(tmp_path):
    path = theirs.save(tmp_path / "model.pth.tar-5", theirs.coop(), 5)
    content = (tmp_path / "model.pth.tar-5").read_bytes()
    (tmp_path / "model.pth.tar-5").write_bytes(content[:-200])
    with pytest.raises(DamagedFile, match="import another file"):
        convert(path, "CoOp")
