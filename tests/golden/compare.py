"""The golden numbers as tests read them, and how ours are compared with them."""

import json

import numpy as np
import pytest
import torch

from tests.conftest import GOLDEN


def golden(name):
    """What the reference code was given and said, of `name`.json and `name`.npz."""
    return json.loads((GOLDEN / f"{name}.json").read_text()), np.load(GOLDEN / f"{name}.npz")


def golden_images():
    """The six images that all references were given, as CLIP takes them: (6, 3, 64, 64)."""
    return torch.from_numpy(np.load(GOLDEN / "inputs.npz")["images_preprocessed"])


def assert_theirs(found, expected, kind, name):
    """A tensor has the norm and the first numbers that the reference noted of its own: a "grad" or a "change"."""
    norm, first = float(expected[f"{kind}_norm/{name}"]), expected[f"{kind}_first8/{name}"]
    assert found.norm().item() == pytest.approx(norm, rel=1e-3, abs=1e-7), name
    np.testing.assert_allclose(found.flatten()[: len(first)], first, rtol=0, atol=1e-3 * norm + 1e-10, err_msg=name)
