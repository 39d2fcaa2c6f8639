"""One row per method: the shared battery in test_battery.py runs for each. A new method adds a row."""

from types import ModuleType
from typing import NamedTuple

import trainers.cocoop
import trainers.coop
import trainers.e2mim
import trainers.kgcoop
import trainers.maple
import trainers.prograd
import trainers.promptsrc
import trainers.sep
import trainers.tcp
import trainers.zsclip


class Method(NamedTuple):
    trainer: str  # name in Dassl's registry
    module: ModuleType
    config_node: str
    options: tuple = ()  # KEY, value, ... of this row
    resnet: bool = True  # works on ResNet backbones
    learns: bool = True
    batch_independent: bool = True


METHODS: dict[str, Method] = {
    "zsclip": Method("ZeroshotCLIP", trainers.zsclip, "ZSCLIP", learns=False),
    "coop": Method("CoOp", trainers.coop, "COOP", ("TRAINER.COOP.N_CTX", 4)),
    # 8 images x 6 classes in several passes
    "cocoop": Method("CoCoOp", trainers.cocoop, "COCOOP", ("TRAINER.COCOOP.CHUNK", 20)),
    "kgcoop": Method("KgCoOp", trainers.kgcoop, "KGCOOP"),
    "prograd": Method("ProGrad", trainers.prograd, "PROGRAD"),
    # The tiny CLIP's text encoder has two layers
    "maple": Method("MaPLe", trainers.maple, "MAPLE", ("TRAINER.MAPLE.PROMPT_DEPTH", 2), resnet=False),
    "tcp": Method("TCP", trainers.tcp, "TCP", ("TRAINER.TCP.LAYER", 1)),
    "promptsrc": Method(
        "PromptSRC",
        trainers.promptsrc,
        "PROMPTSRC",
        (
            "TRAINER.PROMPTSRC.PROMPT_DEPTH_TEXT",
            2,
            "TRAINER.PROMPTSRC.PROMPT_DEPTH_VISION",
            3,
            "TRAINER.PROMPTSRC.GPA_MEAN",
            2,
        ),
        resnet=False,
    ),
    "sep": Method("SEP", trainers.sep, "SEP", resnet=False),
    "sep-released": Method(
        "SEP",
        trainers.sep,
        "SEP",
        ("TRAINER.SEP.VARIANT", "released"),
        resnet=False,
        batch_independent=False,
    ),
    "e2mim": Method("E2MIM", trainers.e2mim, "E2MIM"),
    "e2mim-image-dv": Method(
        "E2MIM",
        trainers.e2mim,
        "E2MIM",
        ("TRAINER.E2MIM.MIXUP_SPACE", "image", "TRAINER.E2MIM.MI_ESTIMATOR", "dv"),  # dv has a state to resume
    ),
}
