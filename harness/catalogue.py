"""THE table of methods and of data sets. Scripts, make, tables, docs and tests read it; a new method is one row.

The folders that METHOD_PATH names add their methods (method_folders.py), those of DATASET_PATH their data sets
(dataset_folders.py). Raises UserError for one that is neither.
"""

import os
from collections.abc import Sequence
from typing import NamedTuple, Optional


class Config(NamedTuple):
    """A file of the method's `config_folder` and the runs that it is for: names with spaces between, empty for all."""

    name: str  # without .yaml
    protocol: str = ""
    datasets: str = ""
    shots: str = ""
    base: str = ""  # of a method that wraps another: which

    def fits(self, protocol: str, dataset: str, shots: int, base: str = "") -> bool:
        asked = (self.protocol, protocol), (self.datasets, dataset), (self.shots, str(shots)), (self.base, base)
        return all(value in names.split() for names, value in asked if names)


class Method(NamedTuple):
    """One row of METHODS."""

    folder: str  # what it is called in commands: that of its scripts, scripts/<folder>/
    trainer: str  # name in Dassl's registry
    paper: str  # arXiv number; of one that is not there, where it appeared
    configs: tuple[Config, ...]  # published settings: the first line that fits a run is taken
    learns: bool = True  # otherwise it is only tested, and seed and shots make no difference
    transductive: bool = False  # sees unlabelled images of the classes that it is tested on
    protocols: str = ""  # those that it has, names with spaces between; empty: all
    bound: str = ""  # why it has no others
    reads: str = ""  # beside images, labels and class names
    chosen_by: str = "last epoch"  # what decides on the model that is tested, where configs do not
    told_half: bool = False  # predicts base classes otherwise than new ones where an image is said to be of either
    on_target: bool = False  # across data sets it is trained on each target, without labels, and not on the source
    base_key: str = ""  # of a method that wraps another: the config key that says which
    # Of a method that learns from a trained run: the config key that holds that run's folder, and the trainers whose
    # names may stand there instead, the default first; each of them has a config for TEACHER
    teacher_key: str = ""
    teachers: tuple[str, ...] = ()
    home: str = ""  # of a method outside this checkout: its folder
    # Of a trainer that was written for Dassl: (config key, default) of the keys that its train.py adds
    defaults: Optional[tuple[tuple, ...]] = None
    class_name: str = ""  # the class in its code, where that has another name than `trainer`
    packages: tuple[str, ...] = ()  # in its folder, which it imports in the place of installed ones

    def has(self, protocol: str) -> bool:
        protocol = "base2new" if protocol == "joint" else protocol  # another test of its models
        return not self.protocols or protocol in self.protocols.split()

    def refusal(self, protocol: str) -> str:
        """The sentence for whoever asks for a protocol that it does not have."""
        return f"{self.trainer} has no {protocol}, only {self.protocols.replace(' ', ', ')}: {self.bound}"

    @property
    def config_folder(self) -> str:
        """Where its config files lie, below this checkout or elsewhere."""
        return os.path.join(self.home, "configs") if self.home else f"configs/trainers/{self.trainer}"

    def script(self, name: str) -> str:
        """What bash is given to run one of its scripts."""
        return f"scripts/any.sh {self.folder} {name}" if self.home else f"scripts/{self.folder}/{name}.sh"

    def teacher(self, pairs: Sequence[str] = ()) -> str:
        """The trainer that it learns from; "" if it learns from none, or the pairs name a folder."""
        named = dict(zip(pairs[::2], pairs[1::2])).get(self.teacher_key, (*self.teachers, "")[0])
        return named if named in self.teachers else ""

    @property
    def bases(self) -> tuple[str, ...]:
        """What it wraps, the default first; ("",) if it is no method around another."""
        return tuple(dict.fromkeys(line.base for line in self.configs))

    def config(self, protocol: str, dataset: str, shots: int, pairs: Sequence[str] = ()) -> str:
        """Stem of the config file of a run; `protocol` is base2new, xd, few_shot or TEACHER, `dataset` its training's.

        pairs: the KEY VALUE pairs that it is given, of which `base_key` matters.
        """
        base = dict(zip(pairs[::2], pairs[1::2])).get(self.base_key)
        if base not in self.bases:  # train.py refuses those that are none
            base = self.bases[0]
        if dataset in BUNDLED:
            return "shapes" if base == self.bases[0] else f"shapes_{base.lower()}"
        return next(line.name for line in self.configs if line.fits(protocol, dataset, shots, base))


TEACHER = "teacher"  # in the place of a protocol: a base-to-new run that others learn from
LARGE = "imagenet sun397"
QUARTERED = f"{LARGE} food101"  # where SkipTuning's code trains a quarter of the epochs
LATE = "stanford_cars oxford_flowers fgvc_aircraft dtd eurosat"  # where PromptSRC's few-shot mean over epochs is late

# In the order of the tables.
# fmt: off
OURS = (
    Method("zsclip", "ZeroshotCLIP", "2103.00020", (
        Config("vit_b16"),
    ), learns=False, chosen_by="nothing"),
    Method("coop", "CoOp", "2109.01134", (
        Config("vit_b16_ep50", "few_shot", "imagenet"),
        Config("vit_b16_ep50", "few_shot", shots="1"),
        Config("vit_b16_ep100", "few_shot", shots="2 4"),
        Config("vit_b16", "few_shot"),
        Config("vit_b16_ep50_ctxv1", datasets="imagenet"),
        Config("vit_b16_ctxv1"),
    )),
    Method("cocoop", "CoCoOp", "2203.05557", (
        Config("vit_b16_c4_ep10_batch1_ctxv1"),
    )),
    Method("kgcoop", "KgCoOp", "2303.13283", (
        Config("vit_b16_ep100_ctxv1"),
    )),
    Method("prograd", "ProGrad", "2205.14865", (
        Config("vit_b16_c16_ep50_batch32", datasets="imagenet"),
        Config("vit_b16_c16_ep50_batch32", "few_shot", shots="1"),
        Config("vit_b16_c16_ep100_batch32", "few_shot", shots="2 4"),
        Config("vit_b16_c16_ep200_batch32_lambda08", "few_shot", "oxford_flowers dtd eurosat"),
        Config("vit_b16_c16_ep200_batch32", "few_shot"),
        Config("vit_b16_c16_ep100_batch32"),
    )),
    Method("maple", "MaPLe", "2210.03117", (
        Config("vit_b16_c2_ep5_batch4_2ctx_cross_datasets", "xd"),
        Config("vit_b16_c2_ep50_batch4_2ctx_few_shot", "few_shot"),
        Config("vit_b16_c2_ep5_batch4_2ctx"),
    )),
    Method("promptsrc", "PromptSRC", "2307.06948", (
        Config("vit_l14_c2_ep20_batch8_4+4ctx", TEACHER),
        Config("vit_b16_c2_ep20_batch4_4+4ctx_cross_datasets", "xd"),
        Config("vit_b16_c2_ep50_batch4_4+4ctx_few_shot_late", "few_shot", LATE),
        Config("vit_b16_c2_ep50_batch4_4+4ctx_few_shot", "few_shot"),
        Config("vit_b16_c2_ep20_batch4_4+4ctx"),
    )),
    Method("tcp", "TCP", "2311.18231", (
        Config("vit_b16_ep25", datasets=LARGE),
        Config("vit_b16_ep100_ctxv1"),
    )),
    Method("clip_lora", "CLIPLoRA", "2405.18541", (
        Config("vit_b16"),
    )),
    Method("two_sfs", "TwoSFS", "2503.11609", (
        Config("vit_b16"),
    )),
    Method("mma", "MMA", "CVPR 2024", (
        Config("vit_b16_ep5_imnet", datasets="imagenet"),
        Config("vit_b16_ep5"),
    )),
    Method("mma_pp", "MMApp", "TPAMI 2026", (
        Config("x2d", "xd"),
        Config("b2n_hc"),
    ), reads="a language model's sentences, where SENTENCES names them"),
    Method("mmrl", "MMRL", "2503.08497", (
        Config("vit_b16_cross_datasets", "xd"),
        Config("vit_b16_imagenet", datasets="imagenet"),
        Config("vit_b16_few_shot", "few_shot"),
        Config("vit_b16"),
    ), told_half=True),
    Method("mmrl_pp", "MMRLpp", "2505.10088", (
        Config("vit_b16_cross_datasets", "xd"),
        Config("vit_b16_imagenet", datasets="imagenet"),
        Config("vit_b16_few_shot", "few_shot"),
        Config("vit_b16"),
    ), told_half=True),
    Method("coprompt", "CoPrompt", "2306.01195", (
        Config("coprompt_2ctx_depth12", datasets="oxford_pets dtd eurosat"),
        Config("coprompt_4ctx_depth12", datasets="imagenet caltech101 stanford_cars sun397 ucf101"),
        Config("coprompt_4ctx_ep5", datasets="food101"),
        Config("coprompt_4ctx", datasets="oxford_flowers fgvc_aircraft"),
        Config("coprompt"),
    ), reads="a language model's sentences, where SENTENCES names them"),
    Method("hicropl", "HiCroPL", "2507.14976", (
        Config("vit_b16_c2_ep5_batch32_2ctx_cross_datasets", "xd"),
        Config("vit_b16_c2_ep40_batch128_16ctx", datasets="imagenet"),
        Config("vit_b16_c2_ep50_batch32_16ctx"),
    ), reads="a language model's sentences, where SENTENCES names them"),
    Method("skip_tuning", "SkipTuning", "2412.11509", (
        Config("vit_b16_bs4_cross_datasets_ep5", "xd", QUARTERED),
        Config("vit_b16_bs4_cross_datasets", "xd"),
        Config("vit_b16_bs4_few_shot_ep10", "few_shot", QUARTERED),
        Config("vit_b16_bs4_few_shot", "few_shot"),
        Config("vit_b16_bs4_ep5", datasets=QUARTERED),
        Config("vit_b16_bs4"),
    )),
    Method("sep", "SEP", "2405.15549", (
        Config("vit_l14_ep10_batch128", TEACHER, LARGE),
        Config("vit_l14_ep50_batch32", TEACHER),
        Config("vit_b16_ep3_batch32", "xd"),
        Config("vit_b16_ep10_batch128", datasets=LARGE),
        Config("vit_b16_ep50_batch32"),
    )),
    Method("e2mim", "E2MIM", "2410.03189", (
        Config("vit_b16_ep3_batch32", "xd"),
        Config("vit_b16_ep10_batch128", datasets=LARGE),
        Config("vit_b16_ep50_batch32"),
    )),
    Method("tipadapter", "TipAdapter", "2111.03930", (
        Config("vit_b16"),
    ), chosen_by="validation images (two weights)", protocols="few_shot",
        bound="its cache knows no other classes than those of its training images"),
    Method("tipadapter_f", "TipAdapterF", "2111.03930", (
        Config("vit_b16_ep100_batch256", datasets="eurosat"),
        Config("vit_b16_ep20_batch256"),
    ), chosen_by="validation images (two weights)", protocols="few_shot",
        bound="its cache knows no other classes than those of its training images"),
    Method("linear_probe", "LinearProbe", "2103.00020", (
        Config("vit_b16"),
    ), chosen_by="validation images (regularisation)", protocols="few_shot",
        bound="its linear classifier knows no other classes than those of its training images"),
    Method("dept", "DePT", "2309.07439", (
        Config("vit_b16_ep10_bs4_lr35_coop", base="CoOp"),
        Config("vit_b16_ep10_ctxv1_bs4_lr35_kgcoop", base="KgCoOp"),
        Config("vit_b16_c2_ep10_batch4_2ctx_maple", base="MaPLe"),
        Config("vit_b16_c2_ep20_batch4_4+4ctx_cross_datasets_promptsrc", "xd", base="PromptSRC"),
        Config("vit_b16_c2_ep50_batch4_4+4ctx_few_shot_late_promptsrc", "few_shot", LATE, base="PromptSRC"),
        Config("vit_b16_c2_ep50_batch4_4+4ctx_few_shot_promptsrc", "few_shot", base="PromptSRC"),
        Config("vit_b16_c2_ep20_batch4_4+4ctx_promptsrc", base="PromptSRC"),
        Config("vit_b16_ep3_batch32_sep", "xd", base="SEP"),
        Config("vit_b16_ep10_batch128_sep", datasets=LARGE, base="SEP"),
        Config("vit_b16_ep50_batch32_sep", base="SEP"),
        Config("vit_b16_ep3_batch32_e2mim", "xd", base="E2MIM"),
        Config("vit_b16_ep10_batch128_e2mim", datasets=LARGE, base="E2MIM"),
        Config("vit_b16_ep50_batch32_e2mim", base="E2MIM"),
    ), base_key="TRAINER.DEPT.BASE", told_half=True),
    Method("promptkd", "PromptKD", "2403.02781", (
        Config("vit_b16_c2_ep20_batch8_4+4ctx_cross_datasets", "xd"),
        Config("vit_b16_c2_ep20_batch8_4+4ctx_kd200", datasets="fgvc_aircraft oxford_flowers dtd"),
        Config("vit_b16_c2_ep20_batch8_4+4ctx"),
    ), reads="unlabelled images of all classes, a larger teacher", transductive=True, protocols="base2new xd",
        on_target=True,
        bound="it learns from all training images of a data set, of which few-shot has few and domain shifts have none",
        teacher_key="TRAINER.PROMPTKD.TEACHER", teachers=("PromptSRC", "SEP")),
)
# fmt: on


def with_folders(path: str) -> tuple[Method, ...]:
    """OURS, and those of the folders in `path`, a value of METHOD_PATH. Raises UserError for one that is no method."""
    if not path:
        return OURS
    from .method_folders import read  # here, since without such a folder a script answers without YAML

    rows = read(path, [(method.folder, method.trainer) for method in OURS])
    return (*OURS, *(Method(**{**row, "configs": tuple(Config(*line) for line in row["configs"])}) for row in rows))


METHODS = with_folders(os.environ.get("METHOD_PATH", ""))
TRAINERS = tuple(method.trainer for method in METHODS)

# ---- data sets, as the files of configs/datasets/ are called ---------------------------------------------------

DATASETS = (  # the papers', in the order of their tables
    "imagenet caltech101 oxford_pets stanford_cars oxford_flowers food101 fgvc_aircraft sun397 dtd eurosat ucf101"
).split()
# Other pictures of the source's classes: domain generalization. Every other target is cross-dataset.
DOMAIN_SHIFTS = {
    "imagenet": ["imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r"],
    "shapes": ["shapes_sketch", "shapes_texture", "shapes_clutter", "shapes_dark"],
}
# Where Shapes stands for ImageNet, these stand for the papers' other ten data sets: small, and as different from each
# other as those
MINIATURE = [f"mini_{name}" for name in "objects fine patterns counts sketch rough scenes".split()]
BUNDLED = ["shapes", *DOMAIN_SHIFTS["shapes"], *MINIATURE]  # drawn here, for the bundled CLIP
PUBLISHED_SHIFTS = list(DOMAIN_SHIFTS["imagenet"])


def own_datasets(path: str) -> dict:
    """{name: dataset_folders.DataSet} of the folders in `path`, a value of DATASET_PATH. Raises UserError."""
    if not path:
        return {}
    from .dataset_folders import read  # here, as above

    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    files = [name for name in os.listdir(os.path.join(root, "configs/datasets")) if name.endswith(".yaml")]
    return read(path, [name[: -len(".yaml")] for name in files])


OWN_DATASETS = own_datasets(os.environ.get("DATASET_PATH", ""))
for _own in OWN_DATASETS.values():
    if _own.shift_of:
        DOMAIN_SHIFTS.setdefault(_own.shift_of, []).append(_own.name)


def method(name: str) -> Method:
    """The method that commands call so. Raises KeyError if there is none."""
    return {row.folder: row for row in METHODS}[name]


def method_of(trainer: str) -> Method:
    """The method of a trainer in the table. Raises KeyError if it is not there."""
    return {row.trainer: row for row in METHODS}[trainer]


def learns(trainer: str) -> bool:
    """Whether a trainer trains at all; one that is not in the table does."""
    return all(row.learns for row in METHODS if row.trainer == trainer)


def is_trained_on_target(trainer: str) -> bool:
    return any(row.on_target for row in METHODS if row.trainer == trainer)


def targets(protocol: str, source: str) -> list:
    """The data sets of a protocol's published table; of xd and dg those that the source's model is tested on.

    `source` shapes: the bundled ones instead of the papers'.
    """
    if protocol == "dg":
        return DOMAIN_SHIFTS.get(source, DOMAIN_SHIFTS["imagenet"])
    if source == "shapes":
        return MINIATURE
    return DATASETS[1:] if protocol == "xd" else DATASETS
