import os

import pytest

from harness.command_line import given, parse_args


@pytest.mark.parametrize("pair", [["OPTIM.MAX_EPOCH", "1"], ["SEED", "3"], ["TRAINER.COOP.N_CTX", "8"]])
def test_a_list_ends_where_the_pairs_begin(pair):
    args = parse_args(["--transforms", "a", "B_2", *pair, "OPTIM.LR", "1"])
    assert (args.transforms, args.opts) == (["a", "B_2"], [*pair, "OPTIM.LR", "1"])


def test_a_list_needs_a_value(capsys):
    with pytest.raises(SystemExit) as stop:
        parse_args(["--transforms", "OPTIM.LR", "1"])
    assert stop.value.code == 2 and "--transforms: expected at least one argument" in capsys.readouterr().err


@pytest.fixture
def base(tmp_path):
    for name in ("data", "method"):
        (tmp_path / f"{name}.yaml").write_text("SEED: 1\n")
    return [
        *("--dataset-config-file", str(tmp_path / "data.yaml"), "--config-file", str(tmp_path / "method.yaml")),
        *("--trainer", "CoOp", "--seed", "1"),
    ]


def test_given_is_files_flags_and_pairs(base, tmp_path):
    asked = given(parse_args(base))
    assert (asked["dataset_config"], asked["config"]) == ("data", "method")
    same = [*base, "--root", "elsewhere", "--output-dir", "there", "--eval-only", "--model-dir", "model"]
    assert given(parse_args(same)) == {**asked, "root": os.path.realpath("elsewhere")} and asked["root"] == ""
    others = [
        [*base, "--seed", "2"],
        [*base, "--backbone", "x"],
        [*base, "--transforms", "a"],
        [*base, "OPTIM.LR", "1"],
    ]
    prints = {given(parse_args(other))["fingerprint"] for other in others}
    (tmp_path / "method.yaml").write_text("SEED: 2\n")
    prints.add(given(parse_args(base))["fingerprint"])
    assert len(prints) == 5 and asked["fingerprint"] not in prints


def test_the_last_of_two_pairs_counts(base):
    once = given(parse_args([*base, "OPTIM.LR", "1"]))
    assert given(parse_args([*base, "OPTIM.LR", "2", "OPTIM.LR", "1"])) == once


def test_a_file_that_cannot_be_read_and_odd_names(base):
    assert given(parse_args([*base[:1], "nowhere.yaml", *base[2:]]))["dataset_config"] == "nowhere"
    given(parse_args([*base, "DATASET.IMAGE_FOLDER", "\udcff"]))
