import json
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import torch
from PIL import Image

import dassl  # noqa: F401  first: lets torchvision import beside a CPU-only PyTorch

pytest_plugins = ["tests.tiny", "tests.families", "tests.built"]

torch.set_num_threads(1)
hypothesis.settings.register_profile("untimed", deadline=None)  # a busy machine is no bug
hypothesis.settings.load_profile("untimed")

REPOSITORY = Path(__file__).resolve().parents[1]
GOLDEN = REPOSITORY / "tests" / "golden"


@pytest.fixture
def caltech_stub(tmp_path):
    """A data root with Caltech101's layout and file names: 13 classes, a colour each, 32 x 32 pixels."""
    root = tmp_path / "data"
    split_file = GOLDEN / "fewshot_split.json"
    rng = np.random.RandomState(0)
    colours = rng.randint(0, 200, size=(13, 3))
    for name, label, _ in [item for items in json.loads(split_file.read_text()).values() for item in items]:
        path = root / "caltech-101" / "101_ObjectCategories" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = colours[label] + rng.randint(0, 56, size=(32, 32, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    (root / "caltech-101" / "split_zhou_Caltech101.json").write_text(split_file.read_text())
    return root
