"""Loading a CLIP keeps its digits, and what cannot be loaded is said in a sentence."""

import http.client
import inspect
import shutil
import time
import types
import urllib.error
import zlib

import clip
import pytest
import torch
from clip.model import build_model
from safetensors.torch import save_file

from tests.conftest import raiser
from tests.golden.formula import clip_state_dict
from tests.tiny import GEOMETRY
from trainers.backbone import clip_loader, openai_files
from trainers.backbone.clip_loader import build_clip, cast_weights, load_clip
from trainers.errors import UserError
from trainers.precision import Precision


def test_no_digit_is_lost(weights):
    loaded = load_clip(weights["vit"], "quickgelu").state_dict()
    for name, value in clip_state_dict(g=GEOMETRY).items():
        assert loaded[name].dtype == torch.float32 and torch.equal(loaded[name], value), name


@pytest.mark.filterwarnings("ignore")  # torch.jit is deprecated; OpenAI's files are what they are
@pytest.mark.parametrize("activation", ["quickgelu", "gelu"])
def test_jit_archive(weights, tmp_path, activation):
    """Its code says what its activation is."""
    path = str(tmp_path / "jit.pt")
    model = load_clip(weights["vit"], activation)
    example = (torch.zeros(1, 3, 32, 32), clip.tokenize(["a"]))
    torch.jit.save(torch.jit.trace(model, example), path)
    expected = model.state_dict()
    loaded = load_clip(path)
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, expected[name]), name
    assert loaded.activation == f"{activation} (as the code in this archive)"
    assert type(loaded.visual.transformer.resblocks[0].mlp.gelu) is type(model.visual.transformer.resblocks[0].mlp.gelu)
    with pytest.raises(
        UserError, match="but the layers of .* have .*as the code in this archive.: leave the key empty"
    ):
        load_clip(path, {"gelu": "quickgelu", "quickgelu": "gelu"}[activation])


@pytest.mark.parametrize("file", ["clip.pt", "wrapped.pt", "clip.safetensors"])
def test_a_file_that_does_not_say_its_activation_is_asked_about(tmp_path, file):
    """LAION's state dicts have OpenAI's names, and another activation."""
    path, state = str(tmp_path / file), clip_state_dict(g=GEOMETRY)
    if file == "clip.safetensors":
        save_file(state, path)
    else:
        torch.save(state if file == "clip.pt" else {"state_dict": {f"module.{k}": v for k, v in state.items()}}, path)
    sentence = f'^"{path}" does not say which activation .* set MODEL.BACKBONE.ACTIVATION to quickgelu .* or gelu '
    with pytest.raises(UserError, match=sentence):
        load_clip(path)
    models = [load_clip(path, activation) for activation in ("quickgelu", "gelu")]
    image, tokens = torch.randn(2, 3, 32, 32), clip.tokenize(["a photo of a cat."])
    for encode in (lambda model: model.encode_image(image), lambda model: model.encode_text(tokens)):
        quick, exact = map(encode, models)
        assert (quick - exact).norm() > 1e-3 * quick.norm()
    assert clip_loader.fingerprint(models[0]) != clip_loader.fingerprint(models[1])
    assert [model.activation for model in models] == [
        "quickgelu (MODEL.BACKBONE.ACTIVATION)",
        "gelu (MODEL.BACKBONE.ACTIVATION)",
    ]


def test_openais_own_names_say_it(tmp_path, monkeypatch):
    path = str(tmp_path / "openai.pt")
    torch.save(clip_state_dict(g=GEOMETRY), path)
    monkeypatch.setattr(openai_files, "get", lambda name, url: path)
    assert load_clip("ViT-B/16").activation == "quickgelu (as all of OpenAI's weights)"
    with pytest.raises(UserError, match="ACTIVATION is gelu, but the layers of .ViT-B/16. have quickgelu"):
        load_clip("ViT-B/16", "gelu")


def test_all_that_a_clip_is_made_of_is_in_its_digest():
    models = [build_clip(clip_state_dict(g=GEOMETRY)) for _ in range(2)]
    same = clip_loader.weights_digest(models[0])
    assert clip_loader.weights_digest(models[1]) == same
    for name, tensor in models[1].state_dict().items():
        bits = tensor.view(torch.int32).flatten()
        bits[-1] ^= 1
        assert clip_loader.weights_digest(models[1]) != same, name
        bits[-1] ^= 1
    for block in (models[1].transformer.resblocks[1], models[1].visual.transformer.resblocks[0]):
        for part, key, value in ((block.attn, "num_heads", 4), (block.mlp, "gelu", torch.nn.GELU())):
            before = getattr(part, key)
            setattr(part, key, value)
            assert clip_loader.weights_digest(models[1]) != same
            setattr(part, key, before)
    assert clip_loader.weights_digest(models[1]) == same


def test_a_digest_is_noted_by_what_the_file_is(weights, make_cfg, tmp_path, monkeypatch):
    made, weights_digest, now = [], clip_loader.weights_digest, time.time_ns
    monkeypatch.setattr(clip_loader, "weights_digest", lambda model: made.append(model) or weights_digest(model))
    monkeypatch.setattr(time, "time_ns", lambda: now() + 10**13)  # the file is old enough

    def digest(activation="quickgelu"):
        backbone = ("MODEL.BACKBONE.NAME", str(tmp_path / "clip.pt"), "MODEL.BACKBONE.ACTIVATION", activation)
        precision = Precision("fp32", torch.device("cpu"))
        cfg = make_cfg("CoOp", *backbone)
        return clip_loader.frozen_clip(cfg, precision, torch.device("cpu"), str(tmp_path / "notes"))[1]["weights"]

    shutil.copy(weights["vit"], tmp_path / "clip.pt")
    first = digest()
    assert digest() == first and len(made) == 1
    assert digest("gelu") != first and len(made) == 2
    state = torch.load(weights["vit"], weights_only=True)
    torch.save(dict(state, **{"visual.proj": -state["visual.proj"]}), tmp_path / "clip.pt")
    assert digest() != first and len(made) == 3


def test_shapes_tiny_is_what_it_was():
    model = load_clip("shapes-tiny")
    assert model.activation == "quickgelu (as tools/pretrain_shapes.py trains it)" and model.pictures is None
    assert clip_loader.fingerprint(model) == zlib.crc32(model.text_projection.numpy().tobytes())


def test_layers_that_a_fork_calls_otherwise(tmp_path, monkeypatch):
    """MMA's clip/model.py."""
    module = types.ModuleType("model")
    exec(inspect.getsource(clip.model).replace("ResidualAttentionBlock", "ModifiedBlock"), module.__dict__)
    monkeypatch.setattr(clip_loader, "build_model", module.build_model)
    monkeypatch.setattr(clip, "model", module)
    model = build_clip(clip_state_dict(g=GEOMETRY))
    assert type(model.transformer.resblocks[0]).__name__ == "ModifiedBlock"


def test_heads_that_weights_do_not_tell(tmp_path):
    """LAION's ViT-H/14 has 16 heads of 80 channels, and OpenAI's build_model would make 20."""
    state, path = clip_state_dict(g={**GEOMETRY, "vision_width": 1280, "vision_layers": 1}), str(tmp_path / "h.pt")
    torch.save(state, path)
    with pytest.raises(UserError, match="does not say how many heads the 1280 channels .*open_clip:ViT-H-14//path"):
        load_clip(path, "gelu")


def test_other_heads_and_mlps():
    """Those of open_clip's larger ViTs, whose heads are not 64 wide."""
    state = clip_state_dict(g=GEOMETRY)
    for name in [name for name in state if ".mlp." in name and "c_proj.bias" not in name]:
        dim = 1 if "c_proj" in name else 0
        state[name] = state[name].narrow(dim, 0, 200).clone()
    model = build_clip(state, "gelu", (4, 2))
    assert [block.attn.num_heads for block in model.visual.transformer.resblocks] == [4, 4, 4]
    assert [block.attn.head_dim for block in model.transformer.resblocks] == [32, 32]
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in state.items())
    assert torch.isfinite(model.encode_image(torch.randn(1, 3, 32, 32))).all()
    with pytest.raises(ValueError, match="3 heads do not divide a layer of 64"):
        build_clip(state, "gelu", (3, 2))


def test_building_draws_what_openais_function_draws():
    """So that what is drawn next, a random context, is as ever; and it keeps the digits of the weights."""
    state, after = clip_state_dict(g=GEOMETRY), []
    for build in (build_model, build_clip):
        torch.manual_seed(0)
        model = build(dict(state))
        after.append(torch.rand(1))
    assert after[0] == after[1]
    assert all(torch.equal(model.state_dict()[name], value) for name, value in state.items())


def test_embedding_stored_by_rows(tmp_path):
    state = clip_state_dict(g=GEOMETRY)
    table = state.pop("token_embedding.weight")
    rows = torch.tensor([320, 49406, 49407])
    state.update(
        {
            "token_embedding.rows": rows,
            "token_embedding.values": table[rows].half(),
            "vocab_size": torch.tensor(49408),
        }
    )
    path = str(tmp_path / "rows.pt")
    torch.save(state, path)
    loaded = load_clip(path).token_embedding.weight
    assert loaded.shape == (49408, 64)
    assert torch.equal(loaded[rows], table[rows].half().float())
    assert torch.equal(loaded, load_clip(path).token_embedding.weight), "rows that are not stored are always the same"


def test_fork_with_design_details(monkeypatch, weights):
    asked = []

    def build_model(state_dict, design_details):
        asked.append(design_details)
        return clip.model.build_model(state_dict)

    monkeypatch.setattr(clip_loader, "build_model", build_model)
    load_clip(weights["vit"], "quickgelu")
    assert asked[0]["vision_depth"] == asked[0]["language_depth"] == 0


@pytest.mark.parametrize(
    "name, error, message",
    [
        ("ViT-B16", ValueError, 'Unknown backbone "ViT-B16".*did you mean "ViT-B/16".*shapes-tiny'),
        ("missing/ViT-B-16.pt", FileNotFoundError, 'No weights file at "missing/ViT-B-16.pt"'),
    ],
)
def test_unknown_names(name, error, message):
    with pytest.raises(error, match=message):
        load_clip(name)


def without(*names):
    return lambda state: {name: value for name, value in state.items() if not name.startswith(names)}


def changed(**more):
    return lambda state: {**state, **{name.replace("__", "."): value for name, value in more.items()}}


@pytest.mark.parametrize(
    "change, reason",
    [
        (lambda state: {"weight": torch.zeros(2)}, "it has no 'text_projection'"),
        (without("visual."), "it has no 'visual.conv1.weight'"),
        (without("logit_scale"), "it has no 'logit_scale'"),
        (without("ln_final"), "ln_final"),
        (without("visual.transformer.resblocks.2.mlp"), "Missing key"),
        (changed(more=torch.zeros(2)), "Unexpected key"),
        (changed(text_projection=torch.zeros(64)), "not enough values|tuple index"),
        (changed(text_projection=torch.zeros(3, 5)), "size mismatch"),
        (changed(positional_embedding=torch.zeros(20, 64)), "it reads 20 tokens, and prompts have up to 77"),
        (changed(token_embedding__weight=torch.zeros(100, 64)), "it knows 100 tokens, and CLIP's text has 49408"),
        (changed(logit_scale=torch.tensor(float("nan"))), "logit_scale is infinite or NaN"),
        (changed(logit_scale=4.6), '"logit_scale" in it is no named tensor'),
        (lambda state: {**state, 7: torch.zeros(2)}, '"7" in it is no named tensor'),
        (lambda state: list(state.values()), "it is a list, not a dict of tensors"),
        (lambda state: state["text_projection"], "it is a Tensor, not a dict of tensors"),
        (lambda state: {}, "it has no"),
        (lambda state: {"token_embedding.rows": torch.zeros(2), **state}, "token_embedding.values"),
    ],
)
def test_half_a_clip(tmp_path, change, reason):
    path = tmp_path / "other.pt"
    torch.save(change(clip_state_dict(g=GEOMETRY)), path)
    with pytest.raises(UserError, match=rf'^"{path}" holds no CLIP in OpenAI.s format \(.*({reason})') as raised:
        load_clip(str(path), "quickgelu")
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 500


@pytest.mark.filterwarnings("ignore")
def test_files_that_are_no_weights(tmp_path, weights, capfd):
    path = tmp_path / "file.pt"
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 1)), path)
    archive = path.read_bytes()
    for content in (b"", b"not a checkpoint", archive[:-50]):
        path.write_bytes(content)
        with pytest.raises(UserError, match='^CLIP weights file ".*file.pt" is damaged .*: fetch it again'):
            load_clip(str(path))
    path.write_bytes(archive)
    with pytest.raises(UserError, match="holds no CLIP in OpenAI's format .it has no 'text_projection'."):
        load_clip(str(path))
    torch.save({"model": torch.nn.Linear(2, 1)}, path)
    with pytest.raises(UserError, match="holds the Python object torch.nn"):
        load_clip(str(path))
    with pytest.raises(UserError, match='^"/.*" .MODEL.BACKBONE.NAME. is a folder: name the weights file in it'):
        load_clip(str(tmp_path))
    assert not "".join(capfd.readouterr())


def test_a_cached_file_that_cannot_be_read(tmp_path, monkeypatch):
    (tmp_path / "ViT-B-16.pt").write_bytes(b"")
    monkeypatch.setattr(openai_files, "CACHE", str(tmp_path))
    monkeypatch.setattr("builtins.open", raiser(PermissionError(13, "Permission denied")))
    with pytest.raises(UserError, match=r"ViT-B-16.pt\" cannot be read \(Permission denied\): fetch https.* by hand"):
        load_clip("ViT-B/16")


@pytest.mark.parametrize(
    "error", [urllib.error.URLError("no route"), http.client.IncompleteRead(b""), TypeError("int() argument must be")]
)
def test_download_that_fails(monkeypatch, tmp_path, error):
    monkeypatch.setattr(openai_files, "CACHE", str(tmp_path))
    monkeypatch.setattr(clip.clip, "_download", raiser(error))
    with pytest.raises(FileNotFoundError, match="ViT-B-16.pt.*SHA-256 5806e77cd.*MODEL.BACKBONE.NAME"):
        load_clip("ViT-B/16")


def test_cast_weights_is_openais_choice(tiny_clip):
    ours = cast_weights(tiny_clip(), torch.float16).state_dict()
    theirs = tiny_clip()
    clip.model.convert_weights(theirs)
    for name, value in theirs.state_dict().items():
        assert ours[name].dtype == value.dtype and torch.equal(ours[name], value), name


@pytest.mark.parametrize(
    "changed",
    [
        {"ln_final.weight": torch.zeros(250_000)},
        {"text_projection": torch.zeros(1, 250_000)},
        {"token_embedding.weight": torch.zeros(500_000, 1)},
        {"positional_embedding": torch.zeros(100_000, 1)},
        {"visual.positional_embedding": torch.zeros(250_000, 1)},
        {f"visual.transformer.resblocks.{i}.attn.in_proj_weight": torch.zeros(1) for i in range(3000)},
        {
            "token_embedding.rows": torch.zeros(1, dtype=torch.int64),
            "token_embedding.values": torch.zeros(1, 512),
            "vocab_size": torch.tensor(10**9),
        },
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_a_file_that_asks_for_more_than_it_holds(tmp_path, monkeypatch, changed):
    """A few of its lengths say how large the model is; nothing is built of that size."""
    monkeypatch.setattr(clip_loader, "_build_model", lambda *_: pytest.fail("it is built"))
    path = str(tmp_path / "large.pt")
    torch.save({**clip_state_dict(g=GEOMETRY), **changed}, path)
    with pytest.raises(UserError, match=r'^".*large.pt" holds no CLIP in .* format \(it'):
        load_clip(path, "quickgelu")
