"""Command lines of any kind: a run ends with a valid result, or in one sentence; never in a stack trace.

FUZZ=2000 in the environment tries so many; `make torture` does.
"""

import contextlib
import json
import os
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

import train
from dassl.config import get_cfg_default
from harness import records
from harness.catalogue import TRAINERS
from harness.config import flatten
from tests.conftest import REPOSITORY
from tests.trainers.methods import METHODS

# What makes a method fit the tiny CLIP
OPTIONS = {row.trainer: [*map(str, row.options)] for row in reversed(METHODS.values())}
CASES = int(os.environ.get("FUZZ", 100))
# Not fuzzed: where and with how many processes it runs, and Dassl's own trainers, whose keys nothing reads
KEYS = [
    key
    for key, _ in flatten(get_cfg_default())
    if not re.match(r"OUTPUT_DIR|RESUME|DATASET\.ROOT|USE_CUDA|DATALOADER\.NUM_WORKERS|TRAINER\.(?!NAME)", key)
]
# Numbers stay small: a million epochs are a valid wish
NUMBERS = st.one_of(
    st.integers(-2, 3), st.sampled_from([16, 40, 77, 200, 2**32]), st.sampled_from([0.0, -1.0, 0.5, 1e-9, 5.0, 1e30])
)
TEXTS = st.sampled_from(
    ["", "a photo of a", "a photo of a {}.", "{", "{0}", "[", "()", "{'a': 1}", "\u00e9\u732b", "a " * 90]
    + "x fp32 bf16 amp new val best_val None nan inf 1e999 0x1 True False ../x imagenet sgd radam multi_step".split()
    + "random_crop normalize dv released image front middle".split()
)
LISTS = st.lists(st.one_of(NUMBERS, st.sampled_from(["normalize", "random_flip", "prompt_learner"])), max_size=3).map(
    str
)
VALUES = st.one_of(NUMBERS.map(str), TEXTS, LISTS)
FLAGS = st.sampled_from(
    [
        *(
            ["--seed", "-1"],
            ["--seed", "x"],
            ["--transforms", "normalize"],
            ["--transforms", "nothing"],
            ["--no-train"],
        ),
        *(["--eval-only"], ["--model-dir", "."], ["--load-epoch", "1"], ["--source-domains", "a"], ["--resume", "."]),
        *(["--backbone", "RN50"], ["--backbone", "ViT"], ["--head", "mlp"], ["--config-file", "/nowhere"], ["--what"]),
    ]
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Three classes of four pictures in each split."""
    root = tmp_path_factory.mktemp("fuzz")
    rng = np.random.RandomState(0)
    for split in ("train", "val", "test"):
        for name in ("cat", "dog", "white owl"):
            folder = root / "image_folder" / split / name
            folder.mkdir(parents=True)
            for i in range(4):
                Image.fromarray(rng.randint(0, 255, (32, 32, 3)).astype(np.uint8)).save(folder / f"{i}.png")
    return root


@st.composite
def command_lines(draw):
    trainer = draw(st.sampled_from(TRAINERS))
    own = [key for key, _ in flatten(get_cfg_default().TRAINER, "TRAINER.") if _belongs(key, trainer)]
    pairs = draw(st.lists(st.tuples(st.sampled_from(own + KEYS), VALUES), max_size=3))
    flags = draw(st.lists(FLAGS, max_size=1))
    return trainer, [part for flag in flags for part in flag], [part for pair in pairs for part in pair]


def _belongs(key, trainer):
    return key.split(".")[1] == getattr(train.TRAINER_REGISTRY.get(trainer), "config_node", None)


@pytest.mark.long
@settings(
    max_examples=CASES, derandomize="FUZZ" not in os.environ, suppress_health_check=list(HealthCheck), print_blob=True
)
@given(command_lines())
@example(("CoOp", [], []))
@example(("SEP", [], ["TRAINER.SEP.N_CTX", "40"]))
@example(("E2MIM", [], ["TEST.SPLIT", "val", "TEST.FINAL_MODEL", "best_val"]))
@example(("ZeroshotCLIP", ["--eval-only"], []))
def test_every_command_line_ends_well(data, weights, capsys, line):
    trainer, flags, pairs = line
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):  # "x" is a folder, too
        argv = [
            *("--root", str(data), "--trainer", trainer, "--seed", "1", "--output-dir", folder),
            *("--dataset-config-file", str(REPOSITORY / "configs/datasets/image_folder.yaml")),
            *("--backbone", weights["vit"], *flags),
            *("MODEL.BACKBONE.ACTIVATION", "quickgelu", "INPUT.SIZE", "(32, 32)"),
            *("OPTIM.MAX_EPOCH", "1", "DATALOADER.NUM_WORKERS", "0"),
            *("DATALOADER.TRAIN_X.BATCH_SIZE", "4", "DATASET.NUM_SHOTS", "2", *OPTIONS[trainer], *pairs),
        ]
        try:
            code = train.main(argv)
        except SystemExit as stop:  # argparse
            code = stop.code
        record, error = records.record_of(folder), capsys.readouterr().err
        sentences = [text for text in error.splitlines() if "error: " in text]
        if code == 0:
            assert not sentences and (Path(folder) / "config.yaml").is_file()
            if "--no-train" not in flags:
                assert records.has_result(record) or records.is_trained(record), json.dumps(record)
        else:
            assert code in (1, 2) and len(sentences) == 1, (argv, error)
            assert not records.has_result(record), "a run that failed has a result"
