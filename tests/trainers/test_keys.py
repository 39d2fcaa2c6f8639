import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dassl.config import get_cfg_default
from dassl.engine import TRAINER_REGISTRY
from harness import config
from harness.catalogue import METHODS
from tests.conftest import REPOSITORY
from trainers import keys
from trainers.errors import UserError
from trainers.keys import RANGES, at_least, between, check, from_below, one_of, several, whole
from trainers.run.optimiser import optimiser_of

values = st.one_of(st.integers(), st.floats(), st.booleans(), st.text(), st.none(), st.lists(st.integers()))


def node_of(cfg, key):
    *sections, leaf = key.split(".")
    return functools.reduce(lambda node, name: node[name], sections, cfg), leaf


def test_every_key_with_a_range_is_there_and_its_default_fits():
    cfg = get_cfg_default()
    for key, allowed in RANGES.items():
        node, leaf = node_of(cfg, key)
        assert allowed.fits(node[leaf]), key
    check(cfg)


PUBLISHED = {  # of the papers or their authors' scripts
    "CLIPLORA": dict(RANK=2, ALPHA=1.0, DROPOUT=0.25, PARTS=["q", "k", "v"], LAYERS=[], ITERATIONS=500),
    "COCOOP": dict(N_CTX=4, CTX_INIT="a photo of a"),
    "COPROMPT": dict(N_CTX=2, CTX_INIT="a photo of a", PROMPT_DEPTH=9, IMAGE_ADAPTER=0.1, TEXT_ADAPTER=0.2),
    "HICROPL": dict(N_CTX=16, CTX_INIT="a photo of a", PROMPT_DEPTH=12, CROSS_LAYER=6, LAMBDA=12.0),
    "KGCOOP": dict(N_CTX=4, CTX_INIT="a photo of a", W=8.0),
    "MAPLE": dict(N_CTX=2, CTX_INIT="a photo of a", PROMPT_DEPTH=9),
    "MMA": dict(LAYER=4, DIM=32, SCALE=0.001),
    "MMAPP": dict(LAYER=4, DIM=32, SCALE=0.01, TEST_SCALE=0.0065, W=2.5, DROPOUT=0.1, SENTENCES=""),
    "MMRL": dict(N_REP_TOKENS=5, LAYER=5, ALPHA=0.7),
    "MMRLPP": dict(N_REP_TOKENS=5, LAYER=5, REP_DIM=512, RANK=4, PROJ_RANK=64, ALPHA=0.7),
    "PROGRAD": dict(N_CTX=16, CTX_INIT=True, LAMBDA=1.0, T=1.0),
    "PROMPTKD": dict(N_CTX_VISION=4, PROMPT_DEPTH_VISION=9, TEMPERATURE=1.0, KD_WEIGHT=1000.0, TEACHER_DIM=768),
    "PROMPTSRC": dict(N_CTX_TEXT=4, N_CTX_VISION=4, PROMPT_DEPTH_TEXT=9, PROMPT_DEPTH_VISION=9, GPA_MEAN=15, GPA_STD=1),
    "TCP": dict(N_CTX=4, CTX_INIT="", LAYER=8, W=8.0),
    "TWOSFS": dict(PEFT="ln", ITERATIONS=300, FRACTION=0.6, RANK=2, ALPHA=1.0, DROPOUT=0.25),
}


@pytest.mark.parametrize("node", PUBLISHED)
def test_defaults_are_the_published_settings(node):
    assert PUBLISHED[node].items() <= get_cfg_default().TRAINER[node].items()


def test_every_number_and_choice_of_a_method_has_a_range():
    """Whatever is missing here is accepted: GPA_MEAN may lie outside of the epochs, text may be anything."""
    cfg = get_cfg_default()
    free = {"TRAINER.PROMPTSRC.GPA_MEAN"}
    for name in (TRAINER_REGISTRY.get(method.trainer).config_node for method in METHODS):
        assert f"TRAINER.{name}.PREC" in RANGES
        for key, value in cfg.TRAINER[name].items():
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                assert f"TRAINER.{name}.{key}" in RANGES.keys() | free, key


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.folder)
def test_every_config_file_is_within(method):
    for path in (REPOSITORY / "configs/trainers" / method.trainer).glob("*.yaml"):
        cfg = get_cfg_default()
        config.merge_file(cfg, str(path))
        cfg.SEED = 1  # stored views need one
        check(cfg)


@given(values)
def test_a_range_answers_for_any_value(value):
    for allowed in RANGES.values():
        assert allowed.fits(value) in (True, False)
        assert allowed.fits([value, value]) in (True, False)


@pytest.mark.parametrize(
    ("allowed", "inside", "outside"),
    [
        (at_least(1), [1, 1.0, 10**9], [0, 0.99, True, "1", None, float("inf"), float("nan")]),
        (between(0, 1), [0, 0.5, 1], [-1e-9, 1.0001, False]),
        (from_below(0, 1), [0, 0.999], [1, -1]),
        (whole(1), [1, 7], [0, 1.5, 2.0, True]),
        (one_of("a", "b"), ["a"], ["A", "", None, 1]),
        (several(2, whole(1)), [(1, 2), [3, 3]], [(1,), (1, 2, 3), (0, 1), 3, "ab"]),
        (several(None, whole(0), distinct=True), [(), (1, 2)], [(1, 1), (1.5,)]),
        (RANGES["OPTIM.STEPSIZE"], [(-1,), (1, 5)], [(5, 1), (1, 1)]),
        (RANGES["INPUT.RRCROP_SCALE"], [(0.08, 1), (1, 1)], [(0, 0), (0.5, 0.4), (0.5, 1.2), (0.5,)]),
        (RANGES["INPUT.GB_K"], [1, 21], [0, 2, -1]),
        (RANGES["SEED"], [-1, 0, 2**32 - 1], [2**32]),
        (RANGES["OPTIM.LR"], [1e-30, 10, 10**6], [0, 1e-46, 1e7, 1e39, -1]),
    ],
)
def test_ranges(allowed, inside, outside):
    assert [value for value in inside if not allowed.fits(value)] == []
    assert [value for value in outside if allowed.fits(value)] == []


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("OPTIM.MAX_EPOCH", 0, "OPTIM.MAX_EPOCH is 0, but must be 1 or more."),
        ("OPTIM.MOMENTUM", 5.0, "OPTIM.MOMENTUM is 5.0, but must be 0 or more and less than 1."),
        ("TEST.FINAL_MODEL", "best", "TEST.FINAL_MODEL is 'best', but must be last_step or best_val."),
        ("TRAINER.SEP.VARIANT", "papers", "TRAINER.SEP.VARIANT is 'papers', but must be paper or released."),
        ("TRAINER.E2MIM.MIXUP_SPACE", "pixels", "but must be feature or image."),
        ("TRAINER.E2MIM.MI_ESTIMATOR", "mine", "but must be jsd or dv or infonce or class or cluster."),
        ("MODEL.TEXT_CHUNK", -1, "MODEL.TEXT_CHUNK is -1, but must be 0 or more."),
        ("TRAINER.COOP.PREC", "fp8", "TRAINER.COOP.PREC is 'fp8', but must be fp32 or fp16 or bf16 or amp."),
        ("TRAINER.PROMPTSRC.GPA_STD", 0, "must be more than 0."),
        ("TRAINER.PROMPTSRC.N_CTX_VISION", 0, "must be a whole number from 1 to 1024."),
        ("TRAINER.SEP.LAYERS", [1, 1], "must be a list of different values, each a whole number, 0 or more."),
        ("INPUT.PIXEL_STD", [1.0], "INPUT.PIXEL_STD is [1.0], but must be 3 values, each more than 0."),
        ("INPUT.GN_MEAN", float("nan"), "INPUT.GN_MEAN is nan, but must be a finite number."),
        ("OPTIM.LR", 1e39, "OPTIM.LR is 1e+39, but must be 0 or, with either sign, from 1.2e-38 to 3.4e+38 (float32)."),
        ("OPTIM.LR", 1e38, "OPTIM.LR is 1e+38, but must be more than 0 and 1000000 or less."),
        ("STORE.MAX_GB", 1e300, "STORE.MAX_GB is 1e+300, but must be 0 or,"),
        ("INPUT.PIXEL_MEAN", [0.5, -1e39, 0.5], "INPUT.PIXEL_MEAN is -1e+39, but must be 0 or,"),
        ("INPUT.CUTOUT_LEN", 2**64, "INPUT.CUTOUT_LEN has 65 bits, but must be a whole number of 63 or fewer."),
        ("OUTPUT_DIR", "a\udcff", "OUTPUT_DIR is 'a\\udcff', which is no text (UTF-8)"),
        ("DATASET.ROOT", "a\0", "DATASET.ROOT is 'a\\x00', which is no text"),
        ("OPTIM.SGD_NESTEROV", True, None),  # with the default momentum
    ],
)
def test_check_names_key_value_and_range(key, value, text):
    cfg = get_cfg_default()
    node, leaf = node_of(cfg, key)
    node[leaf] = value
    if text is None:
        check(cfg)
        cfg.OPTIM.MOMENTUM, text = 0.0, "SGD_NESTEROV needs OPTIM.MOMENTUM above 0"
    with pytest.raises(ValueError) as error:
        check(cfg)
    assert text in str(error.value)


NUMBERS = {key: value for key, value in keys.flatten(get_cfg_default()) if type(value) in (int, float)}
EXTREMES = st.sampled_from([1e39, -1e39, 3.5e38, 1e300, 5e-324, 1e-45, 1e-39, 2**63, -(2**63) - 1, 10**400]) | values


@given(key=st.sampled_from(sorted(NUMBERS)), value=EXTREMES | st.floats() | st.integers())
def test_a_number_that_passes_is_held_by_what_it_becomes(key, value):
    """Of every key, also without a range: finite and, unless it is 0, not 0 in float32, or a whole number in int64."""
    cfg = get_cfg_default()
    node, leaf = node_of(cfg, key)
    node[leaf] = value
    try:
        check(cfg)
    except UserError as error:
        assert str(error).startswith(key) and len(str(error)) < 300
        return
    if isinstance(value, float):
        becomes = torch.tensor(value, dtype=torch.float32)
        assert becomes.isfinite() and bool(becomes) == bool(value)
    elif isinstance(value, int):
        torch.tensor(value, dtype=torch.int64)


OPTIMS = {key: RANGES[f"OPTIM.{key}"] for key in ("LR", "WEIGHT_DECAY", "EPS", "BASE_LR_MULT", "GAMMA", "MOMENTUM")}
OPTIMS.update({key: RANGES[f"OPTIM.{key}"] for key in ("ADAM_BETA1", "ADAM_BETA2", "RMSPROP_ALPHA", "SGD_DAMPNING")})
LIMITS = [0.0, keys.LEAST, 1e-8, 0.5, 1.0 - 2**-53, 1.0, 1e6, keys.MOST]


@settings(max_examples=200, deadline=None)
@given(
    data=st.data(),
    name=st.sampled_from(["adam", "amsgrad", "sgd", "rmsprop", "radam", "adamw"]),
    schedule=st.sampled_from(["single_step", "multi_step", "cosine"]),
)
def test_no_optimiser_fails_on_what_fits(data, name, schedule):
    cfg = get_cfg_default()
    cfg.OPTIM.update({"NAME": name, "LR_SCHEDULER": schedule, "STAGED_LR": True, "NEW_LAYERS": ["0"], "MAX_EPOCH": 4})
    cfg.OPTIM.update({"STEPSIZE": (1,), "WARMUP_EPOCH": data.draw(st.sampled_from([-1, 1]))})
    for key, allowed in OPTIMS.items():
        cfg.OPTIM[key] = data.draw(st.sampled_from([value for value in LIMITS if allowed.fits(value)]), label=key)
    check(cfg)
    trained = torch.nn.ModuleDict({"prompt_learner": torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))})
    optim, sched = optimiser_of(trained, cfg.OPTIM, range(5))
    for _ in range(4):
        for parameter in trained.parameters():
            parameter.grad = torch.ones_like(parameter)
        optim.step()
        sched.step()


def test_a_forks_value_of_another_type_is_named():
    """KgCoOp's fork has COOP.CTX_INIT False; what has a range must not crash on such a thing."""
    cfg = get_cfg_default()
    cfg.TRAINER.COOP.N_CTX = False
    with pytest.raises(ValueError, match="TRAINER.COOP.N_CTX is False"):
        check(cfg)


def test_a_config_that_lacks_a_key_is_checked_for_the_rest():
    cfg = get_cfg_default()
    del cfg.TRAINER["COOP"]
    check(cfg)
    cfg.OPTIM.LR = 0.0
    with pytest.raises(ValueError, match="OPTIM.LR"):
        check(cfg)
    assert keys.RANGES is RANGES
