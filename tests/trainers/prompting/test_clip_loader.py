"""Loading a CLIP keeps its digits, and what cannot be loaded is said in a sentence."""

import urllib.error

import clip
import pytest
import torch

from tests.golden.formula import clip_state_dict
from tests.tiny import GEOMETRY
from trainers.prompting import clip_loader
from trainers.prompting.clip_loader import build_clip, cast_weights, load_clip


def test_no_digit_is_lost(weights):
    loaded = load_clip(weights["vit"]).state_dict()
    for name, value in clip_state_dict(g=GEOMETRY).items():
        assert loaded[name].dtype == torch.float32 and torch.equal(loaded[name], value), name


def test_frozen_and_in_eval_mode(weights):
    for path in weights.values():
        model = load_clip(path)
        assert not model.training and not any(p.requires_grad for p in model.parameters())


@pytest.mark.filterwarnings("ignore")  # torch.jit is deprecated; OpenAI's files are what they are
def test_jit_archive(weights, tmp_path):
    path = str(tmp_path / "jit.pt")
    model = load_clip(weights["vit"])
    example = (torch.zeros(1, 3, 32, 32), clip.tokenize(["a"]))
    torch.jit.save(torch.jit.trace(model, example), path)
    expected = model.state_dict()
    for name, value in load_clip(path).state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_openai_extra_entries_are_ignored():
    state = dict(clip_state_dict(g=GEOMETRY), input_resolution=torch.tensor(32), context_length=torch.tensor(77))
    assert build_clip(state).visual.input_resolution == 32


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
    load_clip(weights["vit"])
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


def test_not_a_clip(tmp_path):
    path = tmp_path / "other.pt"
    torch.save({"weight": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="holds no CLIP"):
        load_clip(str(path))
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="CLIP weights file .* is damaged"):
        load_clip(str(path))


def test_download_that_fails(monkeypatch, tmp_path):
    def unreachable(url, root):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(clip.clip, "_download", unreachable)
    with pytest.raises(FileNotFoundError, match="ViT-B-16.pt.*SHA-256 5806e77cd.*MODEL.BACKBONE.NAME"):
        load_clip("ViT-B/16", cache=str(tmp_path))


def test_cast_weights_is_openais_choice(tiny_clip):
    ours = cast_weights(tiny_clip(), torch.float16).state_dict()
    theirs = tiny_clip()
    clip.model.convert_weights(theirs)
    for name, value in theirs.state_dict().items():
        assert ours[name].dtype == value.dtype and torch.equal(ours[name], value), name
