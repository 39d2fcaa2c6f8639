"""One row per method: the shared battery in test_battery.py runs for each. A new method adds a row."""

from typing import NamedTuple

import trainers.coop
import trainers.e2mim
import trainers.kgcoop
import trainers.maple
import trainers.sep
import trainers.zsclip


class Method(NamedTuple):
    trainer: str  # name in Dassl's registry
    module: object
    node: str  # config node
    options: tuple = ()  # KEY, value pairs of this row
    resnet: bool = True  # works on ResNet backbones
    learns: bool = True
    batch_independent: bool = True


METHODS = {
    "zsclip": Method("ZeroshotCLIP", trainers.zsclip, "ZSCLIP", learns=False),
    "coop": Method("CoOp", trainers.coop, "COOP", ("TRAINER.COOP.N_CTX", 4)),
    "kgcoop": Method("KgCoOp", trainers.kgcoop, "KGCOOP"),
    # The tiny CLIP's text encoder has two layers
    "maple": Method("MaPLe", trainers.maple, "MAPLE", ("TRAINER.MAPLE.PROMPT_DEPTH", 2), resnet=False),
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
