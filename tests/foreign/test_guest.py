"""A stranger's folder comes in whole, for one process, or not at all; a mistake is a sentence."""

import copy
import sys

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

import doctor.compute
import own_methods
from dassl.config import get_cfg_default
from dassl.engine import TRAINER_REGISTRY
from doctor.compute import compute
from doctor.findings import Finding
from foreign import guest
from harness.catalogue import with_folders
from harness.errors import UserError
from harness.forks.content import node_of
from trainers import keys
from trainers.coop import CoOp


def load(folder):
    own_methods.load_method(with_folders(str(folder))[-1])


def world():
    """What a guest changes."""
    return (
        dict(TRAINER_REGISTRY._obj_map),
        list(keys.flatten(get_cfg_default())),
        (dict(keys.RANGES), set(keys.TRAINING_FILES), list(keys._METHODS)),
        {name: module for name, module in sys.modules.items() if name.partition(".")[0] in ("clip", "stranger")},
        (list(sys.meta_path), list(sys.path)),
        (torch.load, torch.Tensor.half, torch.nn.Module.to, lr_scheduler.StepLR.__init__, "float" in vars(np)),
        copy.copy(vars(sys.modules["clip.clip"])),
    )


def test_it_comes_and_leaves(stranger, monkeypatch):
    monkeypatch.setattr(doctor.compute, "pictures_a_second", lambda paths: 1.0)
    before = world()
    load(stranger)
    load(stranger)  # is here already
    cfg, cls = get_cfg_default(), TRAINER_REGISTRY.get("Stranger")
    assert cfg.TRAINER.COOP == {"W": 1.0, "CTX_INIT": False} and cfg.LOSS.STEPS == [1, 2]
    assert cls.config_nodes(cfg) == ["COOP", "STRANGER"] and cfg.TRAINER.STRANGER.CODE_CHECKSUM
    assert TRAINER_REGISTRY.get("CoOp") is CoOp and "Other" not in TRAINER_REGISTRY.registered_names()
    assert sys.modules["clip.model"].MARK and "TRAINER.COOP.CSC" not in keys.RANGES
    other = with_folders(str(stranger))[-1]._replace(trainer="Another", folder="another")
    with pytest.raises(UserError, match="Another and Stranger were both written for Dassl, and each needs a process"):
        own_methods.load_method(other)
    own_methods.load(["PromptKD"])  # which may learn from any other, but not from these
    with pytest.raises(UserError, match="Stranger was written for Dassl and needs a process of its own: name no other"):
        own_methods.load(["Stranger", "CoOp"])
    with pytest.raises(UserError, match="Stranger in .* was written for Dassl, and needs nothing of this project"):
        node_of(with_folders(str(stranger))[-1])
    (finding,) = [one for one in compute([with_folders(str(stranger))[-1]], "tiny", ["a"]) if isinstance(one, Finding)]
    assert finding.line() == "note   compute, Stranger: a trainer written for Dassl is run as it is, and not looked at"
    guest.take_leave()
    assert world() == before


CLASS = "@TRAINER_REGISTRY.register()\nclass CoOp(TrainerX)"
OURS = "from trainers.base import PromptTrainer\n" + CLASS.replace("TrainerX", "PromptTrainer")
MISTAKES = {  # (file, what stands there, what stands there instead) -> what is said
    ("method.yaml", "class: CoOp\n", ""): "stranger register Other, CoOp, and method.yaml names Stranger: have class",
    ("method.yaml", "class: CoOp", "class: Nobody"): "register Other, CoOp, and method.yaml names Nobody",
    ("method.yaml", "  LOSS: {KIND: ce", "  OPTIM: {LR: {A: 1}, B: 2}\n  LOSS: {KIND: ce"): "defaults.OPTIM.LR.A in .*/"
    "stranger/method.yaml is a section where Dassl has a key, or the reverse",
    ("coop.py", CLASS, "@TRAINER_REGISTRY.register()\nclass CoOp"): "CoOp is no TrainerX of dassl.engine",
    ("coop.py", CLASS, OURS): "CoOp is a PromptTrainer, and declares its config keys itself: leave out defaults",
    ("coop.py", "import MARK", "import NOTHING"): "coop.py, line 8: ImportError: cannot import name 'NOTHING'",
    ("clip/clip.py", "import hashlib", "import hashlib_"): "clip/clip.py, line 1: ModuleNotFoundError",
}


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake[2][:30])
def test_a_mistake_is_a_sentence_and_leaves_nothing(stranger, mistake):
    path = stranger / mistake[0]
    text = path.read_text()
    assert mistake[1] in text
    path.write_text(text.replace(*mistake[1:]))
    before = world()
    with pytest.raises(ValueError, match=MISTAKES[mistake]):
        load(stranger)
    assert world() == before


IN_METHOD = {
    ("packages: [clip]", "packages: [dassl]"): "packages names 'dassl', which is no folder of Python code in it",
    ("packages: [clip]", "packages: [configs]"): "packages names configs, which would take the place of what the",
    ("packages: [clip]", "packages: [../x]"): "packages names '../x', which is no folder",
    ("W: 1.0", "W: {}"): None,
    ("W: 1.0", "W: null"): r"defaults.TRAINER.COOP.W is nothing \(null\), but must be a value in a section",
    ("W: 1.0", "W: [{a: 1}]"): "defaults.TRAINER.COOP.W is a list, but must be a value in a section",
    ("  LOSS:", "  LR: 1\n  LOSS:"): "defaults.LR is 1, but must be a value in a section, such as TRAINER",
    ("  LOSS: {KIND: ce", "  TRAINER: {}\n  LOSS: {KIND: ce"): "the key TRAINER is there twice",
    ("defaults: #", "reads: x #"): "is not valid YAML",
}


@pytest.mark.parametrize("mistake", IN_METHOD, ids=lambda mistake: mistake[1][:30])
def test_a_mistake_in_method_yaml(stranger, mistake):
    path = stranger / "method.yaml"
    path.write_text(path.read_text().replace(*mistake))
    if IN_METHOD[mistake] is None:
        assert with_folders(str(stranger))[-1].defaults[0] == ("TRAINER.COOP.CTX_INIT", False)
        return
    with pytest.raises(UserError, match=IN_METHOD[mistake]) as raised:
        with_folders(str(stranger))
    assert str(path) in str(raised.value)


def test_without_defaults_it_is_one_of_ours(stranger):
    path = stranger / "method.yaml"
    path.write_text(path.read_text().partition("defaults:")[0])
    with pytest.raises(UserError, match="class is for a trainer that was written for Dassl: name its config keys as"):
        with_folders(str(stranger))
