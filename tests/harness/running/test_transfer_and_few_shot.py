"""The scripts of cross-dataset, domain generalization and few-shot; base-to-new's are in test_launch.py."""

import pytest

from harness.catalogue import METHODS

TRAIN, TEST = "xd/train", "xd/test"


# ---- cross-dataset and domain generalization ---------------------------------------------------------------


def test_source_is_trained_on_all_classes(checkout):
    result = checkout("sep/xd_train.sh", "imagenet", 1, "OPTIM.LR", "0.1")
    assert result.returncode == 0, result.stderr
    folder = checkout.run_dir(TRAIN, "imagenet", cfg="vit_b16_ep3_batch32")
    where = checkout.called.index("--output-dir")
    assert checkout.called[where:] == [
        *("--output-dir", str(folder), "OPTIM.LR", "0.1"),
        *("DATASET.NUM_SHOTS", "16", "DATASET.SUBSAMPLE_CLASSES", "all"),
    ]
    assert checkout.option("--config-file").endswith("/SEP/vit_b16_ep3_batch32.yaml")


@pytest.mark.parametrize(
    ("source", "cfg"), [(None, "vit_b16_ep50_ctxv1"), ("imagenet", "vit_b16_ep50_ctxv1"), ("caltech101", "mine")]
)
@pytest.mark.parametrize("target", ["dtd", "imagenet_a", "imagenet"])
def test_target_takes_model_and_config_of_the_source(checkout, source, cfg, target):
    env = {"SOURCE": source} if source else {}
    if cfg == "mine":
        env["CFG"] = cfg
    of_source = {"part": TRAIN, "dataset": source or "imagenet", "trainer": "CoOp", "cfg": cfg}
    checkout.checkpoint(50, **of_source)
    checkout.finish(**of_source)
    result = checkout("coop/xd_test.sh", target, 1, **env)
    assert result.returncode == 0, result.stderr
    where = checkout.called.index("--dataset-config-file")
    assert checkout.called[where:] == [
        *("--dataset-config-file", str(checkout.root / f"configs/datasets/{target}.yaml")),
        *("--config-file", str(checkout.root / f"configs/trainers/CoOp/{cfg}.yaml")),
        *("--output-dir", str(checkout.run_dir(TEST, target, "CoOp", cfg))),
        *("--eval-only", "--model-dir", str(checkout.run_dir(**of_source))),
        *("DATASET.NUM_SHOTS", "16", "DATASET.SUBSAMPLE_CLASSES", "all"),
    ]


def test_zero_shot_needs_no_source(checkout):
    for script, part, dataset in (("xd_train", TRAIN, "imagenet"), ("xd_test", TEST, "dtd")):
        result = checkout(f"zsclip/{script}.sh", dataset, 1)
        assert result.returncode == 0, result.stderr
        assert "--eval-only" in checkout.called and "--model-dir" not in checkout.called
        assert checkout.option("--output-dir") == str(checkout.run_dir(part, dataset, "ZeroshotCLIP", "vit_b16"))


def test_missing_model_names_the_command(checkout):
    for env, source in (({}, "imagenet"), ({"SOURCE": "food101"}, "food101")):
        result = checkout("sep/xd_test.sh", "dtd", 3, **env)
        assert result.returncode == 1 and checkout.called is None
        assert f"bash scripts/sep/xd_train.sh {source} 3" in result.stderr and "SOURCE" in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_model_of_another_source_does_not_take_the_place_of_a_result(checkout):
    """Two sources may share a config, and then their tests share a folder."""
    sources = {name: {"part": TRAIN, "dataset": name, "cfg": "mine"} for name in ("imagenet", "food101")}
    target = {"part": TEST, "dataset": "dtd", "cfg": "mine"}
    for source in sources.values():
        checkout.checkpoint(50, **source)
        checkout.finish(**source)
    earlier = checkout.run_dir(**sources["food101"])
    checkout.finish(**target, model_dir=earlier)
    result_file = checkout.run_dir(**target) / "metrics.json"
    for age in (100, -200):  # the result may be older or newer than the model
        checkout.age(age, **target)
        result = checkout("sep/xd_test.sh", "dtd", 1, CFG="mine")
        assert result.returncode == 1 and checkout.called is None and result_file.exists()
        assert len(result.stderr.splitlines()) == 1 and str(earlier) in result.stderr
        assert "FORCE=1" in result.stderr and "OUTPUT" in result.stderr
    assert "finished already" in checkout("sep/xd_test.sh", "dtd", 1, CFG="mine", SOURCE="food101").stdout
    assert checkout("sep/xd_test.sh", "dtd", 1, CFG="mine", FORCE=1).returncode == 0 and checkout.called


def test_results_that_were_moved_are_still_of_their_model(checkout):
    source = {"part": TRAIN, "dataset": "imagenet", "cfg": "mine"}
    checkout.checkpoint(50, **source)
    checkout.finish(**source)
    there = checkout.run_dir(**source, output=checkout.cwd / "old results")
    checkout.finish(part=TEST, dataset="dtd", cfg="mine", model_dir=there)
    assert "finished already" in checkout("sep/xd_test.sh", "dtd", 1, CFG="mine").stdout


# ---- few-shot ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "dataset", "shots", "cfg"),
    [
        ("coop", "caltech101", 1, "vit_b16_ep50"),
        ("coop", "caltech101", 4, "vit_b16_ep100"),
        ("coop", "caltech101", 8, "vit_b16"),
        ("coop", "imagenet", 16, "vit_b16_ep50"),
        ("coop", "shapes", 1, "shapes"),
        ("maple", "dtd", 4, "vit_b16_c2_ep50_batch4_2ctx_few_shot"),
        ("sep", "sun397", 4, "vit_b16_ep10_batch128"),
        ("zsclip", "dtd", 1, "vit_b16"),
    ],
)
def test_few_shot(checkout, method, dataset, shots, cfg):
    result = checkout(f"{method}/few_shot.sh", dataset, 1, shots, SHOTS="1 2 4")  # the variable plays no part
    assert result.returncode == 0, result.stderr
    trainer = {row.folder: row.trainer for row in METHODS}[method]
    assert checkout.option("--config-file").endswith(f"/{trainer}/{cfg}.yaml")
    assert checkout.option("--output-dir") == str(checkout.run_dir("few_shot", dataset, trainer, cfg, shots=shots))
    assert checkout.called[-4:] == ["DATASET.NUM_SHOTS", str(shots), "DATASET.SUBSAMPLE_CLASSES", "all"]
    assert ("--eval-only" in checkout.called) is (method == "zsclip")


def test_few_shot_resumes_and_skips_as_base_to_new_does(checkout):
    run = {"part": "few_shot", "shots": 4}
    checkout.checkpoint(3, **run)
    assert "resuming after epoch 3" in checkout("sep/few_shot.sh", "shapes", 1, 4).stdout
    checkout.finish(**run)
    assert "finished already" in checkout("sep/few_shot.sh", "shapes", 1, 4).stdout
    assert checkout.called is None
