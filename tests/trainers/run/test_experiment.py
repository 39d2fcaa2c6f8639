"""What makes two runs the same experiment."""

import json
from types import SimpleNamespace

import pytest
from yacs.config import CfgNode as CN

import datasets.image_folder  # noqa: F401  declares keys of its own
from dassl.config import get_cfg_default
from harness import records
from trainers import sep
from trainers.errors import UserError
from trainers.run.experiment import (
    AS_BEFORE,
    CLASS_FILES,
    NOT_THE_EXPERIMENT,
    TRAINING_FILES,
    checksum_key,
    complete,
    data_checksums,
    differences,
    fingerprint,
    flatten,
    nodes_of,
    settings_of,
)


def test_settings_are_all_keys_but_those_of_where_and_how(make_cfg):
    cfg = make_cfg("CoOp", "OPTIM.STEPSIZE", (3, 4))
    settings = settings_of(cfg)
    assert settings["OPTIM.LR"] == 2e-3 and settings["OPTIM.STEPSIZE"] == [3, 4] and settings["SEED"] == 1
    assert settings["TRAINER.E2MIM.TEMPLATES"] is None
    assert list(settings) == sorted(settings) and not settings.keys() & NOT_THE_EXPERIMENT
    assert json.loads(json.dumps(settings)) == settings
    assert all("." in key or key == "SEED" for key in settings)


def test_a_key_that_came_later_leaves_the_runs_before_it_alone(make_cfg):
    """While it is empty, which it is for all backbones that there were but bare state dicts."""
    before, after = (make_cfg("CoOp", "MODEL.BACKBONE.ACTIVATION", value) for value in ("", "gelu"))
    assert "MODEL.BACKBONE.ACTIVATION" not in settings_of(before)
    assert settings_of(after) == {**settings_of(before), "MODEL.BACKBONE.ACTIVATION": "gelu"}
    del before.MODEL.BACKBONE["ACTIVATION"]
    assert fingerprint(settings_of(before)) != fingerprint(settings_of(after))


def test_what_runs_of_before_did_is_no_setting_of_theirs_but_told_from_others(make_cfg):
    plain, other = settings_of(make_cfg("CoOp")), settings_of(make_cfg("CoOp", "OPTIM.LR_STEP", "iteration"))
    assert not plain.keys() & AS_BEFORE.keys() and complete(plain) == {**plain, **AS_BEFORE}
    defaults = dict(flatten(get_cfg_default()))
    assert {key: defaults[key] for key in AS_BEFORE} == AS_BEFORE == records.AS_BEFORE
    assert differences(plain, other) == differences(other, plain) == ["OPTIM.LR_STEP"]
    assert differences({}, other) == [] and complete({}) == {}


def test_nodes_of_other_methods_are_no_settings(make_cfg):
    """A method that is added, or whose defaults change, leaves the fingerprints of all others alone."""
    cfg = make_cfg("SEP")
    assert nodes_of(sep.SEP, cfg) == ["SEP"] and nodes_of(object, cfg) is None
    before = settings_of(make_cfg("SEP"), nodes_of(sep.SEP, cfg))
    assert {key.split(".")[1] for key in before if key.startswith("TRAINER.")} == {"NAME", "SEP"}
    cfg = make_cfg("SEP", "TRAINER.COOP.N_CTX", 5)
    cfg.TRAINER.NEW = CN({"A": 1})
    assert settings_of(cfg, ["SEP"]) == before != settings_of(cfg)
    assert settings_of(cfg, ["SEP", "COOP"])["TRAINER.COOP.N_CTX"] == settings_of(cfg)["TRAINER.COOP.N_CTX"] == 5
    assert settings_of(make_cfg("SEP", "TRAINER.SEP.W", 1.0), ["SEP"]) != before


def test_initial_weights_are_known_by_their_content(make_cfg, tmp_path):
    paths = [tmp_path / name for name in "abc"]
    for path, content in zip(paths, (b"1", b"1", b"2")):
        path.write_bytes(content)
    one, same, other = (settings_of(make_cfg("CoOp", "MODEL.INIT_WEIGHTS", str(path))) for path in paths)
    none = settings_of(make_cfg("CoOp"))
    assert one == same and differences(one, other) == differences(one, none) == [checksum_key("MODEL.INIT_WEIGHTS")]
    for path, reason in ((tmp_path / "d", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(UserError, match=rf"{path} \(MODEL.INIT_WEIGHTS\) cannot be read \({reason}\): correct"):
            settings_of(make_cfg("CoOp", "MODEL.INIT_WEIGHTS", str(path)))


def test_what_training_alone_reads_is_known_by_its_content(make_cfg, tmp_path):
    key = "TRAINER.COPROMPT.SENTENCES"
    assert key in TRAINING_FILES and CLASS_FILES >= {"TRAINER.HICROPL.SENTENCES", "TRAINER.MMAPP.SENTENCES"}
    paths = [tmp_path / name for name in "abc"]
    for path, content in zip(paths, ("{}", "{}", "[]")):
        path.write_text(content)
    configs = [make_cfg("CoPrompt", key, str(path)) for path in paths]
    one, same, other, none = (settings_of(cfg, ["COPROMPT"]) for cfg in (*configs, make_cfg("CoPrompt")))
    assert one == same and key not in one and none[checksum_key(key)] == ""
    assert differences(one, other) == differences(one, none) == [checksum_key(key)]
    assert checksum_key(key) not in settings_of(configs[0], ["COOP"])
    with pytest.raises(UserError, match=rf"The file {tmp_path}/d \({key}\) cannot be read \(No such file"):
        settings_of(make_cfg("CoPrompt", key, f"{tmp_path}/d"), ["COPROMPT"])


def test_every_key_of_how_it_runs_exists(make_cfg):
    """One that is misspelt would make the experiment after all."""

    def flat(section, prefix=""):
        for key, value in section.items():
            yield from flat(value, f"{prefix}{key}.") if isinstance(value, CN) else [prefix + key]

    assert set(flat(get_cfg_default())) > NOT_THE_EXPERIMENT


def test_fingerprint(make_cfg):
    settings = settings_of(make_cfg("CoOp"))
    assert fingerprint(settings) == fingerprint(dict(reversed(settings.items())))
    assert fingerprint(settings) == fingerprint(settings_of(make_cfg("CoOp", "OUTPUT_DIR", "x", "TEST.NO_TEST", True)))
    others = [("SEED", 2), ("OPTIM.LR", 1e-3), ("DATASET.NUM_SHOTS", 4), ("TRAINER.COOP.CSC", True)]
    found = {fingerprint(settings_of(make_cfg("CoOp", *other))) for other in others} | {fingerprint(settings)}
    assert len(found) == 5 and all(len(f) == 16 and int(f, 16) >= 0 for f in found)
    # of {"a":[1,null],"b":0.1}, by sha256sum: it must not change from version to version
    assert fingerprint({"b": 0.1, "a": [1, None]}) == "61cc664a5802cf12"


def test_differences():
    theirs = {"A.X": 1, "A.Y": [1, 2], "B": 0.1, "ONLY.THEIRS": 1}
    ours = {"A.X": 2, "A.Y": [1, 3], "B": 0.2, "ONLY.OURS": 1}
    assert differences(theirs, ours) == ["A.X", "A.Y", "B"]
    assert differences(theirs, ours, ignore=["A"]) == ["B"]
    assert differences(theirs, ours, ignore=["A.Y", "A.", "B"]) == ["A.X"]
    assert differences(theirs, theirs) == []


def dataset(folder, train, val=None):
    def items(entries):
        return [SimpleNamespace(impath=path, label=label, classname=name) for path, label, name in entries]

    return SimpleNamespace(dataset_dir=folder, train_x=items(train), val=val and items(val), test=items(train))


TRAIN = [("/d/set/a.png", 0, "cat"), ("/d/set/b/\udcff.png", 1, "dog")]  # a name that is not UTF-8


def test_checksums_of_a_moved_data_set_are_the_same():
    moved = [(path.replace("/d/", "/elsewhere/"), *rest) for path, *rest in TRAIN]
    here = data_checksums(dataset("/d/set", TRAIN, TRAIN[:1]))
    assert here == data_checksums(dataset("/elsewhere/set", moved, moved[:1]))
    assert here["train"] == here["test"] != here["val"] and all(len(digits) == 16 for digits in here.values())
    assert data_checksums(dataset("/d/set", TRAIN))["val"] == ""


@pytest.mark.parametrize(
    "other",
    [
        TRAIN[::-1],
        TRAIN[:1],
        [("/d/set/a.png", 1, "cat"), TRAIN[1]],
        [("/d/set/a.png", 0, "cats"), TRAIN[1]],
        [("/d/set/c.png", 0, "cat"), TRAIN[1]],
        [("/d/seta.png", 0, "cat"), TRAIN[1]],
    ],
)
def test_checksums_of_other_images(other):
    assert data_checksums(dataset("/d/set", TRAIN))["train"] != data_checksums(dataset("/d/set", other))["train"]
