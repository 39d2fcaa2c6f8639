"""Folders of data sets outside the checkout: what makes one, what is said of mistakes, what commands make of them."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from harness import catalogue
from harness.catalogue import own_datasets
from harness.command_line import given, parse_args
from harness.dataset_folders import config_of, name_of
from harness.errors import UserError
from tests.conftest import REPOSITORY, python

TREE = 'name: birds\ntemplate: "a photo of a {}, a type of bird."\nclasses: names.txt\n'
SPLIT = "name: scans\nimages: images\nsplit: split_zhou_Scans.json\n"


def write(folder, text):
    """A data set's folder that has all that `text` may name, and no image."""
    for part in ("train", "test", "images"):
        (folder / part).mkdir(parents=True)
    (folder / "names.txt").write_text("")
    (folder / "split_zhou_Scans.json").write_text("{}")
    (folder / "dataset.yaml").write_text(text)
    return folder


@pytest.fixture
def birds(tmp_path):
    return write(tmp_path / "a/birds", TREE)


@pytest.fixture
def scans(tmp_path):
    return write(tmp_path / "b/my scans", SPLIT)


@pytest.fixture
def known(birds, scans, monkeypatch):
    monkeypatch.setattr(catalogue, "OWN_DATASETS", own_datasets(f"{birds}:{scans}"))


def test_what_a_folder_stands_for(birds, scans):
    found = own_datasets(f"{birds}:{scans}:{birds}/")
    assert [(own.name, own.home, own.shift_of) for own in found.values()] == [
        ("birds", str(birds), ""),
        ("scans", str(scans), ""),
    ]
    assert config_of(found["birds"].file)["DATASET"] == {
        "NAME": "ImageFolder",
        "OWN": "birds 507e74099b38711a",
        "IMAGE_FOLDER": ".",
        "CLASS_NAMES": "names.txt",
        "TEMPLATE": "a photo of a {}, a type of bird.",
    }
    assert config_of(found["scans"].file)["DATASET"] == {
        "NAME": "ImageFolder",
        "OWN": "scans f942128c9cd8c624",
        "IMAGE_FOLDER": "images",
        "SPLIT_FILE": "split_zhou_Scans.json",
    }
    assert name_of(found["scans"].file) == "scans" and name_of("configs/datasets/dtd.yaml") == "dtd"


def test_the_folder_is_the_data_root(scans):
    args = parse_args(["--root", "/data", "--dataset-config-file", str(scans / "dataset.yaml")])
    assert args.root == str(scans) and given(args)["dataset_config"] == "scans"


MISTAKES = {  # (what stands in dataset.yaml, what stands there instead) -> what is said
    ("name:", "nam:"): "it has no key nam, only name, images, split, template, classes, shift_of",
    ("name: birds\n", ""): "it needs name",
    ("name: birds", "name: 5"): "name is 5, but must be text",
    ("name: birds", "name: my birds"): "name is 'my birds', but must be letters",
    ("name: birds", "name: dtd"): "the name dtd is taken by this repository: choose another",
    ("name: birds", "name: ../x"): "name is '../x', but must be letters",
    ("name: birds", "name: birds\nname: birds"): "the key name is there twice.*line 2",
    ("of a {},", "of a bird,"): "template is .*but must hold {} once",
    ("names.txt", "gone.txt"): "classes names .*birds/gone.txt, which is no file",
    ("classes: names.txt", "split: gone.json"): "split names .*birds/gone.json, which is no file",
    ("classes: names.txt", "images: gone"): "images names .*birds/gone, which is no folder",
    ("classes: names.txt", "images: images"): "it has no split, so that .*birds/images needs a folder train, but",
    ("classes: names.txt", "shift_of: gone"): "shift_of is gone, which is no other data set that is known here",
    ("classes: names.txt", "shift_of: birds"): "shift_of is birds, which is no other data set",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_a_sentence(birds, mistake):
    text = (birds / "dataset.yaml").read_text()
    assert text.count(mistake[0]) == 1
    (birds / "dataset.yaml").write_text(text.replace(*mistake))
    with pytest.raises(UserError, match=MISTAKES[mistake]) as raised:
        own_datasets(str(birds))
    assert str(birds / "dataset.yaml") in str(raised.value)


def test_folders_that_are_none(birds, tmp_path):
    with pytest.raises(UserError, match="nowhere is no folder of a data set, as it has no dataset.yaml: correct DATA"):
        own_datasets(f"{birds}:{tmp_path}/nowhere")
    shutil.copytree(birds, tmp_path / "again")
    with pytest.raises(UserError, match=f"again/dataset.yaml is no data set: the name birds is taken by {birds}"):
        own_datasets(f"{birds}:{tmp_path}/again")
    for name, source in (("sketch", "birds"), ("ink", "sketch")):
        write(tmp_path / name, f"name: {name}\nshift_of: {source}\n")
    with pytest.raises(UserError, match="ink/dataset.yaml .*shift_of is sketch, which is itself a domain shift"):
        own_datasets(f"{birds}:{tmp_path}/sketch:{tmp_path}/ink")


def test_its_script_becomes_train_py(checkout, known, scans):
    checkout.finishes = True
    done = checkout("coop/base2new_train.sh", "scans", 1, DATA="/data")
    assert done.returncode == 0, done.stderr
    assert checkout.option("--dataset-config-file") == str(scans / "dataset.yaml")
    assert checkout.option("--root") == str(scans)
    assert checkout.option("--output-dir").endswith("train_base/scans/shots_16/CoOp/vit_b16_ctxv1/seed1")
    assert "finished already" in checkout("coop/base2new_train.sh", "scans", 1).stdout and not checkout.calls
    (scans / "dataset.yaml").write_text(SPLIT + "template: a scan of {}\n")
    checkout("coop/base2new_train.sh", "scans", 1)
    assert checkout.calls, "another template may give another result: train.py compares"
    (scans / "dataset.yaml").write_text(SPLIT)
    (scans / "split_zhou_Scans.json").write_text('{"train": []}')
    checkout("coop/base2new_train.sh", "scans", 1)
    assert checkout.calls, "as may another split file"
    assert checkout("coop/base2new_test.sh", "scans", 1).stdout.startswith("testing: ")
    assert checkout.option("--dataset-config-file") == str(scans / "dataset.yaml")
    message = checkout("coop/few_shot.sh", "scan", 1, 4).stderr
    assert 'no data set "scan"' in message and "nearest: scans" in message and "birds, scans" in message


def test_a_domain_shift_is_only_tested_on(checkout, birds, tmp_path, monkeypatch):
    sketch = write(tmp_path / "sketch", "name: sketch\nshift_of: birds\n")
    monkeypatch.setattr(catalogue, "OWN_DATASETS", own_datasets(f"{birds}:{sketch}"))
    shutil.rmtree(sketch / "train")
    assert config_of(str(sketch / "dataset.yaml"))["DATASET"]["NAME"] == "ImageFolderShift"
    for script in ("coop/xd_train.sh", "coop/base2new_train.sh", "zsclip/base2new_test.sh"):
        done = checkout(script, "sketch", 1)
        assert done.returncode == 2 and "sketch is a domain shift of birds, of which test images alone" in done.stderr
    assert "run first" in checkout("coop/xd_test.sh", "sketch", 1, SOURCE="birds").stderr


def test_commands_know_them(birds, scans, tmp_path):
    """Named by the variable or the flag, from any folder."""
    write(tmp_path / "sketch", "name: sketch\nshift_of: birds\n")
    (tmp_path / "out").mkdir()
    grid = ["--methods", "coop", "--seeds", "1", "--dry-run"]
    for command, said in (
        (["tools/sweep.py", *grid, "--datasets", "scans", "--datasets-from", f"{birds}:{scans}"], "_test.sh scans"),
        (["tools/sweep.py", *grid, "--protocols", "dg", "--source", "birds"], "xd_test.sh sketch 1"),
        (["harness", "coop", "base2new_test", "birds", "1"], "no trained model in"),
        (["harness", "coop", "base2new_test", "birds", "1", "--datasets-from=gone"], "gone is no folder of a data set"),
        (["tools/report.py", "out", "--datasets-from"], "--datasets-from needs the folder of a data set"),
    ):
        command = [sys.executable, str(REPOSITORY / command[0]), *command[1:]]
        own = {"OUTPUT": str(tmp_path / "out"), "DATA": str(tmp_path), "DATASET_PATH": "a/birds:sketch"}
        done = subprocess.run(command, cwd=tmp_path, env={**os.environ, **own}, capture_output=True, text=True)
        assert said in done.stdout + done.stderr, done.stdout + done.stderr
        assert "Traceback" not in done.stderr


def test_shifts_stand_in_their_sources_table(birds, tmp_path):
    write(tmp_path / "sketch", "name: sketch\nshift_of: birds\n")
    write(tmp_path / "photos", "name: photos\nshift_of: imagenet\n")
    code = (
        "from harness.catalogue import targets; from harness.report.published import AVERAGED; import json;"
        "print(json.dumps([targets('dg', 'birds'), targets('dg', 'imagenet'), AVERAGED['dg']]))"
    )
    printed = python(code, DATASET_PATH=f"{birds}:{tmp_path}/sketch:{tmp_path}/photos")
    papers = ["imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r"]
    assert json.loads(printed) == [["sketch"], [*papers, "photos"], papers]
