"""One row per method: the shared battery in test_battery.py runs for each. A new method adds a row."""

import importlib
from types import ModuleType
from typing import NamedTuple

import pytest


class Method(NamedTuple):
    trainer: str  # name in Dassl's registry
    config_node: str
    options: tuple = ()  # KEY, value, ... of this row
    resnet: bool = True  # works on ResNet backbones
    learns: bool = True
    fitted: bool = False  # in one go, without loss and epochs
    class_specific: bool = False  # what it learns belongs to its training classes
    reads_names: bool = True  # of the classes
    batch_independent: bool = True
    first_term: str = "ce"  # of its loss
    file: str = ""  # trainers/<file>.py, set below
    configs: str = ""  # folder of its config files, if not configs/trainers/<trainer>

    @property
    def module(self) -> ModuleType:
        return importlib.import_module(f"trainers.{self.file}")

    @property
    def custom_clip(self) -> type:
        from dassl.engine import TRAINER_REGISTRY  # here, since tools/new_method.py reads this table

        return TRAINER_REGISTRY.get(self.trainer).custom_clip


# Four tokens, which CTX_INIT starts
HICROPL = ("TRAINER.HICROPL.N_CTX", 4, "TRAINER.HICROPL.PROMPT_DEPTH", 2, "TRAINER.HICROPL.CROSS_LAYER", 1)
# File in trainers/, and what sets this row apart from the file's others
_ROWS = {
    "zsclip": Method("ZeroshotCLIP", "ZSCLIP", learns=False),
    "coop": Method("CoOp", "COOP", ("TRAINER.COOP.N_CTX", 4)),
    # 8 images x 6 classes in several passes
    "cocoop": Method("CoCoOp", "COCOOP", ("MODEL.TEXT_CHUNK", 20)),
    "kgcoop": Method("KgCoOp", "KGCOOP"),
    "prograd": Method("ProGrad", "PROGRAD"),
    # The tiny CLIP's text encoder has two layers
    "maple": Method("MaPLe", "MAPLE", ("TRAINER.MAPLE.PROMPT_DEPTH", 2), resnet=False),
    "tcp": Method("TCP", "TCP", ("TRAINER.TCP.LAYER", 1)),
    "promptsrc": Method(
        "PromptSRC",
        "PROMPTSRC",
        (
            *("TRAINER.PROMPTSRC.PROMPT_DEPTH_TEXT", 2, "TRAINER.PROMPTSRC.PROMPT_DEPTH_VISION", 3),
            *("TRAINER.PROMPTSRC.GPA_MEAN", 2),
        ),
        resnet=False,
    ),
    # 2 steps for each of 6 shots, divided among 3 epochs
    "clip_lora": Method("CLIPLoRA", "CLIPLORA", ("TRAINER.CLIPLORA.ITERATIONS", 2), resnet=False),
    # 2 steps for each of 6 shots: 7 in the first 2 of 3 epochs, 5 of the classifier in the last
    "two_sfs": Method("TwoSFS", "TWOSFS", ("TRAINER.TWOSFS.ITERATIONS", 2), resnet=False),
    # At the published scale of 0.001 a toy's adapters would change nothing that a test sees
    "mma": Method("MMA", "MMA", ("TRAINER.MMA.LAYER", 1, "TRAINER.MMA.SCALE", 0.1), resnet=False),
    "mma_pp": Method(
        "MMApp",
        "MMAPP",
        ("TRAINER.MMAPP.LAYER", 1, "TRAINER.MMAPP.SCALE", 0.1, "TRAINER.MMAPP.TEST_SCALE", 0.065),
        resnet=False,
    ),
    "mmrl": Method("MMRL", "MMRL", ("TRAINER.MMRL.LAYER", 1), resnet=False),
    "mmrl_pp": Method("MMRLpp", "MMRLPP", ("TRAINER.MMRLPP.LAYER", 1), resnet=False),
    "coprompt": Method("CoPrompt", "COPROMPT", ("TRAINER.COPROMPT.PROMPT_DEPTH", 2), resnet=False),
    "coprompt-views": Method(  # as it is published
        "CoPrompt", "COPROMPT", ("TRAINER.COPROMPT.PROMPT_DEPTH", 2, "DATALOADER.K_TRANSFORMS", 2), resnet=False
    ),
    "hicropl": Method("HiCroPL", "HICROPL", HICROPL, resnet=False),
    "hicropl-released": Method("HiCroPL", "HICROPL", (*HICROPL, "TRAINER.HICROPL.VARIANT", "released"), resnet=False),
    # Batches of one class
    "skip_tuning": Method(
        "SkipTuning",
        "SKIPTUNING",
        ("TRAINER.SKIPTUNING.START_LAYER", 1, "DATASET.NUM_SHOTS", 6, "DATALOADER.TRAIN_X.BATCH_SIZE", 3),
        resnet=False,
    ),
    "sep": Method("SEP", "SEP", resnet=False),
    "sep-released": Method("SEP", "SEP", ("TRAINER.SEP.VARIANT", "released"), resnet=False, batch_independent=False),
    "e2mim": Method("E2MIM", "E2MIM"),
    "e2mim-image-dv": Method(
        "E2MIM",
        "E2MIM",
        ("TRAINER.E2MIM.MIXUP_SPACE", "image", "TRAINER.E2MIM.MI_ESTIMATOR", "dv"),  # dv has a state to resume
    ),
    "tipadapter": Method(
        "TipAdapter",
        "TIPADAPTER",
        ("DATASET.NUM_SHOTS", 6, "TRAINER.TIPADAPTER.AUGMENT_EPOCH", 2, "TRAINER.TIPADAPTER.STEPS_BETA", 20),
        fitted=True,
        class_specific=True,
    ),
    "tipadapter_f": Method(
        "TipAdapterF",
        "TIPADAPTERF",
        ("DATASET.NUM_SHOTS", 6, "TRAINER.TIPADAPTERF.AUGMENT_EPOCH", 2, "TRAINER.TIPADAPTERF.STEPS_BETA", 20),
        class_specific=True,
    ),
    "linear_probe": Method("LinearProbe", "LINEARPROBE", fitted=True, class_specific=True, reads_names=False),
    "dept": Method("DePT", "DEPT", ("TRAINER.COOP.N_CTX", 4)),
    "dept-sep": Method("DePT", "DEPT", ("TRAINER.DEPT.BASE", "SEP"), resnet=False),
    # `make_cfg` gives it a teacher
    "promptkd": Method(
        "PromptKD",
        "PROMPTKD",
        ("TRAINER.PROMPTKD.PROMPT_DEPTH_VISION", 3, "TRAINER.PROMPTKD.TEACHER_DIM", 32),
        resnet=False,
        first_term="kd",
    ),
}

# What the feature store and foreign backbones can meet: text alone is learned, there is a frozen branch beside the
# learned one, a picture has two views, pixels are mixed, a teacher looks too, nothing is learned by steps
KINDS = ("coop", "promptsrc", "coprompt-views", "e2mim-image-dv", "promptkd", "tipadapter")

METHODS: dict[str, Method] = {key: row._replace(file=key.partition("-")[0]) for key, row in _ROWS.items()}
LEARNING = [key for key, method in METHODS.items() if method.learns and not method.fitted]  # by steps


def often(keys, quick=KINDS):
    """Parameters of a test: all `keys`, of which `make test` runs the quick ones and `make test-long` the others."""
    return [
        pytest.param(*(key if isinstance(key, tuple) else (key,)), marks=[] if key in quick else pytest.mark.long)
        for key in keys
    ]
