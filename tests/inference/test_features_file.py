"""Features in a .npz file, whole or not at all."""

import os

import numpy as np
import pytest
import torch

from inference.features_file import FeaturesFile
from trainers.errors import UserError


def test_what_comes_in_stands_there(tmp_path):
    features = torch.randn(5, 3)
    with FeaturesFile(str(tmp_path / "a.npz")) as file:
        for i, row in enumerate(features):
            file.add(f"picture {i}.png", row)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as found:
        assert found["paths"].tolist() == [f"picture {i}.png" for i in range(5)]
        assert found["features"].dtype == np.float32 and np.array_equal(found["features"], features.numpy())
    assert os.listdir(tmp_path) == ["a.npz"]


def test_an_error_leaves_no_file(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"earlier")
    with pytest.raises(KeyboardInterrupt), FeaturesFile(str(tmp_path / "a.npz")) as file:
        file.add("a.png", torch.zeros(2))
        raise KeyboardInterrupt
    assert (tmp_path / "a.npz").read_bytes() == b"earlier" and os.listdir(tmp_path) == ["a.npz"]


def test_no_picture(tmp_path):
    with FeaturesFile(str(tmp_path / "a.npz")):
        pass
    with np.load(tmp_path / "a.npz") as found:
        assert found["features"].shape == (0, 0) and len(found["paths"]) == 0


def test_errors(tmp_path):
    with pytest.raises(UserError, match='call the file "a.txt.npz"'):
        FeaturesFile("a.txt")
    with pytest.raises(UserError, match="a.npz"):
        FeaturesFile(str(tmp_path / "none" / "a.npz")).__enter__()
