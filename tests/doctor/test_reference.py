"""Zero-shot CLIP beside what is known of it."""

import numpy as np
import pytest

from doctor import reference
from doctor.findings import FAULT, NOTE, OK, findings_of
from harness.catalogue import BUNDLED, DATASETS, DOMAIN_SHIFTS
from tests.conftest import REPOSITORY

B16 = "ViT-B/16"


def test_what_is_known():
    for name in DATASETS:
        assert reference.known(name, B16)["base"] and reference.known(name, B16)["new"]
    assert reference.known("dtd", B16) == {"base": [53.24], "new": [59.90]}
    assert reference.known("imagenet", "/some/ViT-B-16.pt")["all"] == [66.72, 66.73]
    assert reference.known("imagenet_r", B16) == {"all": [73.96, 73.98]}
    assert not reference.known("dtd", "ViT-B/32") and not reference.known("dtd", "open_clip:ViT-B-16/openai")
    for name in BUNDLED:
        parts = ["all"] if name in sum(DOMAIN_SHIFTS.values(), []) else ["base", "new", "all"]
        assert list(reference.known(name, "shapes-tiny")) == parts and not reference.known(name, B16)


def test_what_is_known_is_what_the_pages_have():
    results = (REPOSITORY / "docs/results.md").read_text()
    halves = {name: reference.known(name, "shapes-tiny") for name in BUNDLED}
    first = "objects fine patterns counts sketch rough scenes".split()
    cells = [f"{halves[f'mini_{n}']['base'][0]:.2f} / {halves[f'mini_{n}']['new'][0]:.2f}" for n in first]
    assert f"| ZeroshotCLIP | {' | '.join(cells)} |" in results
    for order in (["shapes", *sorted(f"mini_{n}" for n in first)], ["shapes", *DOMAIN_SHIFTS["shapes"]]):
        cells = [f"{halves[name]['all'][0]:.2f}" for name in order]
        assert f"| ZeroshotCLIP | {' | '.join(cells)} |" in results
    (shapes,) = [line for line in (REPOSITORY / "README.md").read_text().splitlines() if "| ZeroshotCLIP | 77" in line]
    assert f"{halves['shapes']['base'][0]:.2f}  | {halves['shapes']['new'][0]:.2f}" in shapes


@pytest.mark.parametrize(
    "ours, prec, level",
    [
        ({"base": 53.24, "new": 59.85, "all": 44.0}, "fp32", OK),
        ({"base": 53.24, "new": 59.60, "all": 44.0}, "fp16", OK),
        ({"base": 53.24, "new": 59.75, "all": 44.0}, "fp32", FAULT),
        ({"base": 53.60, "new": 59.90, "all": 44.0}, "fp16", FAULT),
    ],
)
def test_distances(monkeypatch, ours, prec, level):
    monkeypatch.setattr(reference, "zero_shot", lambda *what: (ours, prec))
    (finding,) = reference.reference("dtd", "", B16)
    assert finding.level == level and f"new {ours['new']:.2f} (59.90), all 44.00 in {prec}" in finding.text
    assert level == OK or ("another template" in finding.remedy and "squashed" in finding.remedy)
    (finding,) = reference.reference("dtd", "", "ViT-B/32")
    assert finding.level == NOTE and "nothing is known of ViT-B/32" in finding.text


def test_halves_are_told_among_themselves():
    logits = np.array([[2, 1, 3], [0, 1, 2], [0, 3, 1], [5, 0, 1]], dtype=np.float32)
    labels = np.array([0, 1, 2, 2])
    assert reference._accuracy(logits, labels, slice(0, 2)) == 100
    assert reference._accuracy(logits, labels, slice(2, None)) == 100
    assert reference._accuracy(logits, labels, slice(0, 3)) == 0


@pytest.fixture
def few(monkeypatch):
    """A picture of each class and part."""
    from datasets.shapes.miniature import Miniature

    monkeypatch.setattr(Miniature, "splits", {"train": 1, "val": 1, "test": 1})


def test_a_test_of_both_halves(few, tmp_path):
    ours, prec = reference.zero_shot("mini_patterns", str(tmp_path), "shapes-tiny")
    assert list(ours) == ["base", "new", "all"] and prec == "fp32" and 50 < ours["all"] <= ours["base"] <= 100
    assert [path.name for path in tmp_path.iterdir()] == ["mini_patterns"]  # nothing else is written


def test_a_backbone_of_another_size_is_a_fault(few, tmp_path, weights):
    (finding,) = findings_of("reference", reference.reference, "mini_patterns", str(tmp_path), weights["vit"])
    assert finding.level == FAULT and "which activation" in finding.text
