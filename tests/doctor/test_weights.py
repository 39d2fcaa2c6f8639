"""Weights that are missing, others than they are called, or no CLIP."""

import hashlib

import clip
import pytest
import torch

from doctor import weights as doctor_weights
from doctor.findings import FAULT, NOTE, OK, findings_of
from trainers.backbone import openai_files


def look(name, activation="quickgelu"):
    return list(findings_of("weights", doctor_weights.weights, name, activation))


@pytest.fixture
def openais(weights, monkeypatch, tmp_path):
    """The tiny CLIP is OpenAI's ViT-B/16 and lies where that is kept; its path. Nothing can be downloaded."""
    content = open(weights["vit"], "rb").read()
    url = f"https://host/{hashlib.sha256(content).hexdigest()}/ViT-B-16.pt"
    monkeypatch.setitem(clip.clip._MODELS, "ViT-B/16", url)
    monkeypatch.setattr(openai_files, "CACHE", str(tmp_path))
    monkeypatch.setattr(clip.clip, "_download", lambda *what: pytest.fail("it is downloaded"))
    (tmp_path / "ViT-B-16.pt").write_bytes(content)
    return tmp_path / "ViT-B-16.pt"


@pytest.mark.parametrize("by_name", [True, False])
def test_openais(openais, by_name):
    origin, activation, geometry = look("ViT-B/16" if by_name else str(openais))
    assert origin.level == OK and f"{openais} is OpenAI's ViT-B/16 (SHA-256 " in origin.text
    assert activation.level == OK and activation.text.startswith("activation quickgelu")
    assert geometry.text == (
        "ViT of 3 layers of 64, patches of 8, pictures of 32 x 32; text of 2 layers of 64; features of 32"
    )


def test_weights_that_are_not_there(openais):
    openais.unlink()
    (finding,) = look("ViT-B/16")
    assert finding.level == FAULT and "is not in" in finding.text and "fetch https://host/" in finding.remedy
    (finding,) = look(str(openais))
    assert finding.level == FAULT and "No weights file at" in finding.text


@pytest.mark.parametrize("by_name", [True, False])
def test_wrong_weights(openais, by_name):
    """Cut in a download, or another model of that name."""
    openais.write_bytes(openais.read_bytes()[:-100])
    origin = look("ViT-B/16" if by_name else str(openais))[0]
    assert origin.level == FAULT and "is not OpenAI's ViT-B/16: its SHA-256 is " in origin.text
    assert origin.remedy.startswith("delete it, and fetch https://host/")


def test_one_model_under_the_name_of_another(openais):
    other = openais.rename(openais.with_name("ViT-B-32.pt"))
    assert look(str(other))[0].level == FAULT


def test_files_of_others(weights, tmp_path):
    origin, *rest = look(weights["vit"])
    assert origin.level == NOTE and "is no file of OpenAI's" in origin.text and len(rest) == 2
    torch.save({"a": torch.zeros(1)}, tmp_path / "none.pt")
    assert "holds no CLIP" in look(str(tmp_path / "none.pt"))[1].line()
    origin, unknown = look(weights["vit"], "")
    assert unknown.level == FAULT and "does not say which activation" in unknown.text
    (unknown,) = look("RN51")
    assert unknown.level == FAULT and 'did you mean "RN50"?' in unknown.text


def test_the_bundled_ones_and_a_resnet(weights):
    assert [f.level for f in look("shapes-tiny")] == [OK, OK]
    assert look(weights["resnet"])[-1].text.startswith("ResNet, pictures of 32 x 32")
