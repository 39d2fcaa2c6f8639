import subprocess
import sys

import yaml

from dassl.config import clean_cfg, get_cfg_default
from harness.config import flatten
from tests.conftest import GOLDEN, REPOSITORY

DEFAULTS = GOLDEN / "dassl_config_defaults.yaml"


def test_defaults_are_dassls():
    # trainers imported by other tests of this process may have added keys, but changed none
    ours = dict(flatten(yaml.safe_load(get_cfg_default().dump())))
    assert [key for key, value in flatten(yaml.safe_load(DEFAULTS.read_text())) if ours.get(key) != value] == []


def test_defaults_alone_are_exactly_dassls():
    code = "from dassl.config import get_cfg_default; print(get_cfg_default().dump(), end='')"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout == DEFAULTS.read_text()


def test_copies_are_independent():
    get_cfg_default().OPTIM.LR = 123.0
    assert get_cfg_default().OPTIM.LR == 0.0003


def test_every_key_has_a_comment():
    lines = (REPOSITORY / "dassl/config/defaults.py").read_text().splitlines()
    keys = [line for line in lines if line.startswith("_C.") and not line.endswith("= CN()")]
    assert len(keys) > 80
    assert [line for line in keys if "  # " not in line and not line.startswith("_C.VERSION")] == []


def test_clean_cfg_keeps_one_trainer():
    cfg = get_cfg_default()
    clean_cfg(cfg, "FixMatch")
    assert set(cfg.TRAINER) == {"NAME", "FIXMATCH"}
