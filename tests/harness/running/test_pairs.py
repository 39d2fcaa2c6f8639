"""Pairs that the folder of a run stands for, wherever pairs are given: refused before anything starts."""

import pytest
import yaml

from harness import layout
from harness.layout import PARTS, Place
from harness.running import sweep_file
from harness.running.launch import Refused, check_pairs
from harness.running.protocols import STEPS
from tools import sweep

VALUES = {
    "OUTPUT_DIR": "elsewhere",
    "DATASET.SUBSAMPLE_CLASSES": "all",
    "DATASET.NAME": "MiniObjects",
    "DATASET.NUM_SHOTS": "4",
    "TRAINER.NAME": "KgCoOp",
    "SEED": "5",
}
FORMS = (str, str.lower, "{} ".format, "'{}'".format)
FLAGS = ("--seed", "--output-dir", "--se", "-h", "--trainer=CoOp")


def test_each_part_of_a_folder_has_its_key():
    assert VALUES.keys() == layout.DECIDES.keys()
    assert len(VALUES) == len({"output", *Place._fields} - {"cfg"})  # of which a user has the variable CFG


@pytest.mark.parametrize("key", [*VALUES, *FLAGS])
def test_scripts(checkout, key):
    for form in FORMS if key in VALUES else (str,):
        pair = ("OPTIM.LR", "0.1", form(key), VALUES.get(key, "5"))
        for name, step in STEPS.items():
            arguments = ("shapes", 1, 4)[: len(step.arguments.split())]
            result = checkout(f"coop/{name}.sh", *arguments, *pair)
            assert result.returncode == 2 and checkout.called is None and result.stderr.count("\n") == 1
            assert f"takes no {'pair' if key in VALUES else 'flag'} {form(key)}" in result.stderr
        result = checkout("coop/reproduce.sh", *pair, DATASETS="shapes")
        assert result.returncode == 2 and checkout.called is None


@pytest.mark.parametrize("key", VALUES)
def test_sweeps(tmp_path, monkeypatch, capsys, key):
    monkeypatch.setenv("OUTPUT", str(tmp_path / "output"))
    value, parts = VALUES[key], [{"protocol": "base2new", "methods": ["promptkd"], "datasets": ["shapes"]}]
    path = tmp_path / "sweep.yaml"
    flags = ["--methods", "coop", "--datasets", "shapes", "--dry-run", "--set", key, value]
    assert sweep.main(flags) == 2 and f"takes no pair {key}" in capsys.readouterr().err
    nested = {key.split(".")[0]: {key.split(".")[1]: value}} if "." in key else {key: value}
    for change in (
        {"overrides": {key: value}},
        {"overrides": nested},
        {"overrides_of": {"promptkd": {key: value}}},
        {"overrides_of": {"promptsrc": {key: value}}},  # whose run it learns from
        {"variants": {"a": {}, "b": {key: value}}},
    ):
        path.write_text(yaml.safe_dump({"parts": parts, **change}))
        with pytest.raises(Refused, match=f"takes no pair {key}"):
            sweep_file.read(str(path))
    path.write_text(yaml.safe_dump({"parts": parts}))
    with pytest.raises(Refused, match=f"takes no pair {key}"):
        sweep_file.read(str(path), pairs=[key, value])


def test_other_pairs_are_taken():
    check_pairs(["OPTIM.LR", "-1", "DATASET.ROOT", "SEED", "MODEL.BACKBONE.NAME", "--x"], "a script")
    assert {part.classes for part in PARTS.values()} == {"base", "new", "all"}
