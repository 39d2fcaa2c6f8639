"""Folders of methods outside the checkout: what makes one, what is said of mistakes, what tells their code apart."""

import os
import shutil
import subprocess
import sys

import pytest

from harness import catalogue
from harness.catalogue import BUNDLED, DATASETS, OURS, with_folders
from harness.errors import UserError
from harness.method_code import code_checksum
from tests.conftest import REPOSITORY
from tools.new_method import LIKE, write


@pytest.fixture
def mine(tmp_path):
    """A folder like CoOp, whose code fails when it is imported."""
    write("mine", "CoOp", tmp_path)
    (tmp_path / "mine/mine.py").write_text("raise RuntimeError\n")
    return tmp_path / "mine"


@pytest.mark.parametrize("like", LIKE)
def test_it_is_a_row_like_any_other(like, tmp_path):
    write("my_method", like, tmp_path)
    (row,) = with_folders(str(tmp_path / "my_method"))[len(OURS) :]
    assert (row.folder, row.trainer, row.home) == ("my_method", "MyMethod", str(tmp_path / "my_method"))
    for protocol, shots in (("base2new", 16), ("xd", 16), ("few_shot", 1), ("few_shot", 4)):
        for dataset in (*DATASETS, *BUNDLED[:1]):
            config = row.config(protocol, dataset, shots)
            assert config == LIKE[like].config(protocol, dataset, shots)
            assert os.path.isfile(os.path.join(row.config_folder, f"{config}.yaml"))


def test_all_that_method_yaml_may_say(mine):
    more = "learns: false\ntold_half: true\nprotocols: [base2new, few_shot]\nbound: it knows no others\nreads: a book\n"
    with open(mine / "method.yaml", "a", encoding="utf-8") as file:
        file.write(more)
    row = with_folders(str(mine))[-1]
    assert (row.learns, row.told_half, row.transductive, row.reads) == (False, True, False, "a book")
    assert row.has("joint") and not row.has("xd")
    assert row.refusal("xd") == "Mine has no xd, only base2new, few_shot: it knows no others"


LAST = "  - {file: vit_b16_ctxv1}\n"
MISTAKES = {  # (what stands in method.yaml, what stands there instead) -> what is said
    ("name: mine", "nam: mine"): "mine/method.yaml is no method: it has no key nam, only name, trainer, paper,",
    ("name: mine\n", ""): "it needs name",
    ("name: mine", "name: [mine]"): "name is a list, but must be text",
    ("name: mine", "name: My method"): "name is 'My method', but must be small letters",
    ("name: mine", "name: coop"): "the name coop is taken by this repository",
    ("name: mine", "name: datasets"): f"the name datasets is that of a package, {REPOSITORY}/datasets",
    ("name: mine", "name: torch"): "the name torch is that of a package",
    ("name: mine", "name: mine\nname: mine"): "the key name is there twice.*line 3",
    ("trainer: Mine", "trainer: CoOp"): "the trainer CoOp is taken by this repository",
    ("trainer: Mine", "trainer: my-trainer"): "trainer is 'my-trainer', but must be the name of its class",
    ('paper: "unpublished"', "paper: 2109.01134"): "paper is 2109.01134, but must be text",
    ("file: vit_b16_ctxv1", "file: vit_b17"): "configs, number 6, names .*/vit_b17.yaml, which does not exist",
    ("file: vit_b16_ctxv1", "file: ../x"): "configs, number 6, needs file, the name of one in configs/",
    ("file: vit_b16_ctxv1", "shot: 1"): "configs, number 6, has no key shot, only file, protocol",
    ("protocol: few_shot", "protocol: few"): "configs, number 1, protocol can be base2new, xd, few_shot, but not few",
    ("shots: [1]", "shots: [one]"): "configs, number 2.shots, number 1 is 'one', but must be a whole number",
    (LAST, LAST + "protocols: [base2new]\n"): "bound says in a sentence why",
    (LAST, LAST + "protocols: [dg]\nbound: x\n"): "protocols can be base2new, xd, few_shot, but not dg",
    (LAST, ""): "the last of configs must be for all runs",
    (LAST, LAST + "  - 5\n"): "configs, number 7 is 5, but must be a section",
    (LAST, LAST + "learns: 1\n"): "learns is 1, but must be true or false",
    (LAST, "\t" + LAST): "is not valid YAML: .*line",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_a_sentence(mine, mistake):
    text = (mine / "method.yaml").read_text()
    assert text.count(mistake[0]), mistake
    (mine / "method.yaml").write_text(text.replace(*mistake, 1))
    with pytest.raises(UserError, match=MISTAKES[mistake]) as raised:
        with_folders(str(mine))
    assert str(mine / "method.yaml") in str(raised.value)


def test_folders_that_are_none(mine, tmp_path):
    with pytest.raises(UserError, match="nowhere is no folder of a method, as it has no method.yaml: correct METHOD_P"):
        with_folders(f"{mine}:{tmp_path}/nowhere")
    shutil.copytree(mine, tmp_path / "again")
    with pytest.raises(UserError, match=f"again/method.yaml is no method: the name mine is taken by {mine}"):
        with_folders(f"{mine}:{mine}/:{tmp_path}/again")
    for name in ("datasets.py", "random.py", "clip.py"):
        (mine / name).write_text("")
        with pytest.raises(UserError, match=f"mine/{name} has the name of another module, .*rename it"):
            with_folders(str(mine))
        (mine / name).unlink()
    (mine / "mine.py").unlink()
    with pytest.raises(UserError, match="there is no file of Python beside it with the trainer, such as mine.py"):
        with_folders(str(mine))


def test_the_checksum_is_of_code_alone(mine):
    before = code_checksum(str(mine))

    def changes(path, text):
        (mine / path).parent.mkdir(exist_ok=True)
        (mine / path).write_text(text)
        changed = code_checksum(str(mine)) != before
        (mine / path).unlink()
        return changed

    assert not any(changes(name, "x = 1\n") for name in ("test_more.py", "conftest.py", "README.md", "configs/x.yaml"))
    assert all(changes(name, "x = 1\n") for name in ("more.py", "parts/__init__.py", "parts/of.py"))
    assert changes("mine.py", "raise RuntimeError  # a comment\n")


@pytest.fixture
def known(mine, monkeypatch):
    monkeypatch.setattr(catalogue, "METHODS", with_folders(str(mine)))
    return mine


def test_its_script_becomes_train_py(checkout, known):
    checkout.finishes = True
    done = checkout("mine/base2new_train.sh", "caltech101", 1)
    assert done.returncode == 0, done.stderr
    assert checkout.option("--trainer") == "Mine"
    assert checkout.option("--config-file") == str(known / "configs/vit_b16_ctxv1.yaml")
    assert checkout.option("--output-dir").endswith("train_base/caltech101/shots_16/Mine/vit_b16_ctxv1/seed1")
    assert "finished already" in checkout("mine/base2new_train.sh", "caltech101", 1).stdout and not checkout.calls
    (known / "mine.py").write_text("raise ValueError\n")
    checkout("mine/base2new_train.sh", "caltech101", 1)
    assert checkout.calls, "other code may give another result: train.py compares"


def test_what_scripts_say_of_it(checkout, known):
    done = checkout("mine/base2new_test.sh", "shapes", 1)
    assert done.stderr.endswith("run first, with the same settings: bash scripts/any.sh mine base2new_train shapes 1\n")
    assert checkout("mine/few_shot.sh", "shapes").stderr == (
        "usage: bash scripts/any.sh mine few_shot DATASET SEED SHOTS [KEY VALUE ...]\n"
    )
    assert f'no config "x" in {known}/configs' in checkout("mine/xd_train.sh", "shapes", 1, CFG="x").stderr
    assert checkout("yours/xd_train.sh", "shapes", 1).stderr.startswith('error: no method "yours"; there are zsclip,')
    assert checkout("mine/train.sh", "shapes", 1).stderr.startswith('error: no script "train"; there are base2new')


def test_commands_read_no_code(mine, tmp_path):
    """Nor do they need the folder where they are called from, nor PyTorch."""
    (mine / "mine.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'w')\n")
    (tmp_path / "out").mkdir()
    sweep = "--methods coop mine --datasets shapes --seeds 1 --dry-run --methods-from mine".split()
    anything = ["mine", "base2new_test", "shapes", "1"]
    for command, code, said in (
        (["tools/sweep.py", *sweep], 0, "to do   scripts/any.sh mine base2new_test shapes 1"),
        (["harness", *anything, "--methods-from=mine"], 1, "no trained model in"),
        (["tools/report.py", "out", "--methods-from", "mine"], 1, "no run below out"),
        (["harness", *anything], 2, 'no method "mine"'),
        (["harness", *anything, "--methods-from", "out"], 1, "out is no folder of a method"),
        (["tools/sweep.py", "--methods", "mine", "--methods-from"], 1, "--methods-from needs the folder of a method"),
    ):
        command = [sys.executable, str(REPOSITORY / command[0]), *command[1:]]
        environ = {**os.environ, "OUTPUT": str(tmp_path / "out"), "DATA": str(tmp_path)}
        done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True)
        assert done.returncode == code and said in done.stdout + done.stderr, done.stdout + done.stderr
        assert "Traceback" not in done.stderr and not (tmp_path / "imported").exists()
