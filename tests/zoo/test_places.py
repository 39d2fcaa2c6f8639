"""Published folders of checkpoints, and the runs that they are here."""

import pytest

from harness.dataset_folders import DataSet
from harness.errors import UserError
from harness.layout import Place
from zoo import places as zoo

MAPLE, SRC = "vit_b16_c2_ep5_batch4_2ctx", "vit_b16_c2_ep20_batch4_4+4ctx"
XD = f"{MAPLE}_cross_datasets"
BASE = "base2new/train_base"
LEARNER = "MultiModalPromptLearner/model.pth.tar-5"


@pytest.mark.parametrize(
    "path, trainer, place",
    [
        # MaPLe's and PromptSRC's zoos, as their documents describe them
        (f"imagenet/base/seed1/{LEARNER}", "MaPLe", Place(BASE, "imagenet", "16", "MaPLe", MAPLE, 1)),
        (
            f"imagenet/seed2/{LEARNER}",
            "MaPLe",
            Place("xd/train", "imagenet", "16", "MaPLe", XD, 2),
        ),
        (
            "dtd/base/seed3/VLPromptLearner/m",
            "PromptSRC",
            Place(BASE, "dtd", "16", "PromptSRC", SRC, 3),
        ),
        (
            "food101/4shot/seed1/VLPromptLearner/m",
            "PromptSRC",
            Place("few_shot", "food101", "4", "PromptSRC", "vit_b16_c2_ep50_batch4_4+4ctx_few_shot", 1),
        ),
        # the layouts of training scripts
        (
            "output/base2new/train_base/eurosat/shots_8/MaPLe/vit_b16_c2_ep5_batch4_2ctx/seed3/L/m",
            "MaPLe",
            Place(BASE, "eurosat", "8", "MaPLe", MAPLE, 3),
        ),
        (
            "output_6_0_6_4/base2new/train_base/dtd/shots_16_8.0/SEP/vit_b32_ep50_ctxv1/seed1/prompt_learner/m",
            "SEP",
            Place(BASE, "dtd", "16", "SEP", "vit_b16_ep50_batch32", 1),
        ),
        (
            "output/caltech101/CoOp/vit_b16_ep100_2shots/nctx16_cscFalse_ctpend/seed2/prompt_learner/m",
            "CoOp",
            Place("few_shot", "caltech101", "2", "CoOp", "vit_b16_ep100", 2),
        ),
        (
            f"output/imagenet/MaPLe/{MAPLE}_cross_datasets_16shots/seed1/{LEARNER}",
            "MaPLe",
            Place("xd/train", "imagenet", "16", "MaPLe", XD, 1),
        ),
    ],
)
def test_places(tmp_path, path, trainer, place):
    for top in (tmp_path, (tmp_path / path).parent):  # the zoo, or one run of it
        assert zoo.place_of_file(str(tmp_path / path), str(top), trainer) == place


@pytest.mark.parametrize(
    "path, sentence",
    [
        ("things/base/seed1/m", "names no data set: import it alone, with --dataset-config-file"),
        ("dtd/base/m", "names no seed .*import it alone, with --seed"),
        ("dtd/seed1/m", "names no protocol: add --protocol"),
        ("dtd/base/CoOp/seed1/m", "is of CoOp by its folder, not of MaPLe"),
        ("dtd/novel/seed1/m", 'is of a test by its folder, "novel"'),
    ],
)
def test_what_a_path_does_not_say(tmp_path, path, sentence):
    with pytest.raises(UserError, match=sentence):
        zoo.place_of_file(str(tmp_path / path), str(tmp_path), "MaPLe")


def test_protocol_by_hand_and_folders_above(tmp_path):
    """What lies above the zoo's folder says nothing but the data set."""
    file = str(tmp_path / "base/dtd/seed1/m")
    assert zoo.place_of_file(file, str(tmp_path / "base/dtd"), "MaPLe", "few_shot").folder == "few_shot"
    with pytest.raises(UserError, match="no protocol"):
        zoo.place_of_file(file, str(tmp_path / "base/dtd"), "MaPLe")


def test_the_newest_of_each_run(tmp_path):
    files = "a/L/model.pth.tar-2 a/L/model.pth.tar-10 a/L/checkpoint b/L/model-best.pth.tar c/log.txt"
    for name in files.split():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = zoo.checkpoints_below(str(tmp_path))
    assert found == [str(tmp_path / "a/L/model.pth.tar-10"), str(tmp_path / "b/L/model-best.pth.tar")]


def test_command(tmp_path):
    place = Place(BASE, "dtd", "4", "MaPLe", "shapes", 2)
    command = zoo.test_command(place, "/my out", "/data", ["A.B", "(1, 2)"])
    assert command == (
        "DATA=/data OUTPUT='/my out' CFG=shapes SHOTS=4 bash scripts/maple/base2new_train.sh dtd 2 A.B '(1, 2)'"
    )
    place = Place("few_shot", "dtd", "4", "MaPLe", "vit_b16_c2_ep50_batch4_2ctx_few_shot", 2)
    assert zoo.test_command(place, str(zoo.ROOT / "output"), "", []) == "bash scripts/maple/few_shot.sh dtd 2 4"
    assert zoo.test_command(place._replace(folder="xd/test"), "x", "", []) is None


def test_a_data_set_outside_the_checkout(monkeypatch):
    monkeypatch.setattr(zoo, "OWN_DATASETS", {"kvasir": DataSet("kvasir", "/sets/Kvasir")})
    place = zoo.place_of_file(f"/zoo/kvasir/base/seed1/{LEARNER}", "/zoo", "MaPLe")
    assert place == Place(BASE, "kvasir", "16", "MaPLe", MAPLE, 1)
    assert "/sets/Kvasir/dataset.yaml" in zoo.train_arguments(place)[0]
