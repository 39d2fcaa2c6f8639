"""A run's folder with and without config.yaml; what else it becomes is in test_api.py and test_promptkd.py."""

import json
import os

import pytest
import torch

from tests.tiny import CLASSNAMES
from tests.trainers.methods import METHODS
from trainers.errors import MissingFile, UserError
from trainers.run.folder import RunFolder


@pytest.mark.parametrize("key", ["promptsrc", "dept"])
def test_a_forks_run_has_its_settings_in_its_record(run, key, tmp_path):
    folder, _ = run(METHODS[key])
    image, device = torch.randn(3, 3, 32, 32), torch.device("cpu")
    with torch.no_grad():
        expected = RunFolder(folder).model(CLASSNAMES, device)[0](image)
        os.remove(os.path.join(folder, "config.yaml"))
        model, precision = RunFolder(folder).model(CLASSNAMES, device)
        assert torch.equal(model(image), expected) and precision.prec == "fp32"
    assert not model.training and not any(p.requires_grad for p in model.parameters())

    path = tmp_path / "output/metrics.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "settings": {**record["settings"], "OPTIM.LR": -1.0}}))
    with pytest.raises(UserError, match="OPTIM.LR is -1.0, but must be more than 0"):
        RunFolder(folder)
    path.write_text(json.dumps({**record, "settings": {"OPTIM.LR": "much"}}))
    with pytest.raises(UserError, match='metrics.json" is no config of a run .*: train again'):
        RunFolder(folder)
    path.write_text(json.dumps({**record, "settings": {}}))
    with pytest.raises(MissingFile, match="is no folder of a run, as it has no config.yaml"):
        RunFolder(folder)
