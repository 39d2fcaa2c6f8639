"""What is written into a fork and taken away again, and what is refused; see test_in_forks.py for what runs there."""

import functools
import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import yaml

from harness.catalogue import METHODS, TRAINERS
from harness.errors import MissingFile, UserError
from harness.forks import content, install
from harness.forks.content import node_of, steps_in_a_fork
from harness.forks.install import RECORD, add, remove
from harness.forks.train_file import IMPORT, NoPlace
from tests.conftest import REPOSITORY
from tests.harness.forks.trees import KINDS, PACKAGE, commit, coop, dept, kept, sep, state
from tools.add_to_fork import main

# ---- what comes ------------------------------------------------------------------------------------------------


def test_only_what_is_told(fork):
    before = kept(fork)
    plan = add(fork)
    plan.carry_out()
    after = kept(fork)
    assert {path for path in after if after[path] != before.get(path)} == set(plan.write)
    assert not before.keys() - after.keys()
    elsewhere = [path for path in plan.write if not path.startswith((PACKAGE, "configs/trainers/", "scripts/"))]
    assert elsewhere == ["train.py"]
    assert after["train.py"].replace(f"{IMPORT}\n".encode(), b"", 1) == before["train.py"]


def test_the_package_is_the_same_files(fork):
    add(fork, TRAINERS[3:]).carry_out()  # CoOp's fork has a trainer CoOp
    for path in (REPOSITORY / "trainers").glob("**/*.py"):
        copy = fork / PACKAGE / path.relative_to(REPOSITORY / "trainers")
        if path.stem in ("zsclip", "coop", "cocoop"):
            assert not copy.exists()
        elif path != REPOSITORY / "trainers/__init__.py":
            assert copy.read_bytes() == path.read_bytes()
    assert (fork / PACKAGE / "LICENSE").read_bytes() == (REPOSITORY / "LICENSE").read_bytes()


@pytest.mark.parametrize("under_git", [True, False])
def test_what_git_does_not_know_stays_here(fork, tmp_path, monkeypatch, under_git):
    """But for a method that is asked for; where git knows nothing, all is copied."""
    checkout = tmp_path / "checkout"
    for place in ("trainers", "configs/trainers", "dassl/config"):
        shutil.copytree(REPOSITORY / place, checkout / place, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "LICENSE", checkout)
    (checkout / "trainers/sep.py").rename(checkout / "sep.py")
    if under_git:
        commit(checkout)
    (checkout / "sep.py").rename(checkout / "trainers/sep.py")
    (checkout / "trainers/prompting/scratch.py").write_text("mine")
    monkeypatch.setattr(content, "ROOT", checkout)
    add(fork).carry_out()
    copied = {path.name for path in (fork / PACKAGE / "prompting").iterdir()}
    here = {path.name for path in (REPOSITORY / "trainers/prompting").glob("*.py")}
    assert copied - here == (set() if under_git else {"scratch.py"}) and here <= copied
    assert (fork / PACKAGE / "sep.py").is_file()


def test_every_method_under_another_name(tmp_path):
    fork = coop(tmp_path / "fork", own="other", registers="Other")
    before = state(fork)
    add(fork, TRAINERS, {trainer: f"{trainer}_ours" for trainer in TRAINERS}).carry_out()
    for method in METHODS:
        name, node = f"{method.trainer}_ours", f"{method.trainer.upper()}_OURS"
        configs = sorted((fork / "configs/trainers" / name).iterdir())
        assert {path.stem for path in configs} >= {config.name for config in method.configs}
        for path in configs:
            named = set(yaml.safe_load(path.read_text()).get("TRAINER") or {node: 0})
            assert named == {node} or method.base_key and node in named
        text = (fork / PACKAGE / f"{method.folder}.py").read_text()
        assert re.search(rf"^class {name}\(\w+Trainer\):$", text, re.M) and f'config_node = "{node}"' in text
        assert node_of(method) not in re.findall(r"\bTRAINER\.(\w+)", text)
        assert len(list((fork / "scripts" / name.lower()).iterdir())) == len(steps_in_a_fork(method)) > 0
    remove(fork).carry_out()
    assert state(fork) == before


def test_a_new_name_changes_nothing_else(fork):
    add(fork, ["MaPLe"], {"MaPLe": "Ours"}).carry_out()
    text, own = (fork / PACKAGE / "maple.py").read_text(), (REPOSITORY / "trainers/maple.py").read_text()
    assert text.replace("class Ours(", "class MaPLe(").replace("OURS", "MAPLE") == own


def test_configs_state_the_defaults_that_train_py_changes(tmp_path):
    fork = dept(tmp_path / "DePT")
    add(fork).carry_out()
    for path in (fork / "configs/trainers/SEP").iterdir():
        theirs, ours = (yaml.safe_load(p.read_text()) for p in (path, REPOSITORY / "configs/trainers/SEP" / path.name))
        added = {"STAGED_LR": False, "NEW_LAYERS": []}
        assert theirs.pop("OPTIM") == {**ours.pop("OPTIM"), **added} and theirs == ours


@pytest.mark.parametrize("key", ["DATALOADER.TRAIN_X.SAMPLER", "VERBOSE", "TRAIN.PRINT_FREQ"])
def test_keys_stated_at_any_depth(tmp_path, key):
    value = {"VERBOSE": False, "TRAIN.PRINT_FREQ": 1}.get(key, "SequentialSampler")
    fork = coop(tmp_path / "fork", extend=f"    cfg.{key} = {value!r}\n")
    add(fork, ["MaPLe"]).carry_out()
    for path in (fork / "configs/trainers/MaPLe").iterdir():
        here = REPOSITORY / "configs/trainers/MaPLe" / path.name
        theirs, ours = (yaml.safe_load(p.read_text()) for p in (path, here))
        assert functools.reduce(dict.get, key.split("."), theirs) != value
        batches = [config["DATALOADER"]["TRAIN_X"]["BATCH_SIZE"] for config in (theirs, ours)]
        assert batches[0] == batches[1]


# ---- again, more, and newer ------------------------------------------------------------------------------------


def test_another_method_joins_those_that_are_there(fork):
    before = state(fork)
    add(fork, ["SEP"]).carry_out()
    plan = add(fork, ["tcp"])
    assert [each.name for each in plan.added] == ["TCP", "SEP"] and "train.py" not in plan.write
    plan.carry_out()
    both = state(fork)
    remove(fork).carry_out()
    assert state(fork) == before
    add(fork, ["SEP", "TCP"]).carry_out()
    assert state(fork) == both


def test_files_of_an_older_version_are_renewed(fork):
    before = state(fork)
    add(fork).carry_out()
    newest = state(fork)
    record = json.loads((fork / RECORD).read_text())
    for path, text in ((f"{PACKAGE}/sep.py", b"# older\n"), (f"{PACKAGE}/since_removed.py", b"# gone\n")):
        (fork / path).write_bytes(text)
        record["files"][path] = install.checksum(text)
    del record["seal"]  # as the first versions had none
    (fork / RECORD).write_text(json.dumps(record))
    plan = add(fork)
    assert sorted(plan.write) == [RECORD, f"{PACKAGE}/sep.py"] and plan.remove == [f"{PACKAGE}/since_removed.py"]
    plan.carry_out()
    assert state(fork) == newest
    remove(fork).carry_out()
    assert state(fork) == before


# ---- out again -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "end"), [*((kind, "\n") for kind in KINDS), ("dept", "\r\n")])
def test_removed_to_the_byte(tmp_path, kind, end):
    root = KINDS[kind](tmp_path / kind)
    path = root / "train.py"
    path.write_bytes(path.read_text().rstrip("\n").replace("\n", end).encode())
    path.chmod(0o755)
    before = state(tmp_path)
    add(tmp_path / kind, ["SEP", "TCP"], {"SEP": "X"}).carry_out()
    added = state(tmp_path)
    again = add(tmp_path / kind, ["SEP", "TCP"])  # SEP is known there by its other name
    assert again.is_empty() and [each.name for each in again.added] == ["TCP", "X"]
    again.carry_out()
    assert state(tmp_path) == added != before
    remove(tmp_path / kind).carry_out()
    assert state(tmp_path) == before


def test_what_python_left_in_the_package_goes_too(fork):
    before = state(fork)
    add(fork).carry_out()
    for folder in (PACKAGE, f"{PACKAGE}/prompting"):
        (fork / folder / "__pycache__").mkdir()
        (fork / folder / "__pycache__/base.cpython-38.pyc").write_bytes(b"x")
    (fork / "output/base2new").mkdir(parents=True)
    remove(fork).carry_out()
    assert state(fork) == before and (fork / "output/base2new").is_dir()


def test_what_others_put_beside_ours_stays(fork):
    add(fork).carry_out()
    mine = ["configs/trainers/SEP/mine.yaml", "scripts/sep/notes/a.txt"]
    mine += [f"{PACKAGE}/{name}" for name in ("__pycache__/mine.txt", "added.json.bak", "mine.py", "run/link")]
    for path in mine:
        (fork / path).parent.mkdir(exist_ok=True)
        (fork / path).symlink_to("nowhere") if path.endswith("link") else (fork / path).write_text("x = 1\n")
    compiled = [fork / PACKAGE / "__pycache__" / f"{name}.cpython-38.pyc" for name in ("mine", "base")]
    for path in compiled:
        path.write_bytes(b"x")
    plan = remove(fork)
    assert plan.kept == mine
    plan.carry_out()
    assert [os.path.lexists(fork / path) for path in mine] == [True] * len(mine)
    assert [path.exists() for path in compiled] == [True, False]
    assert not (fork / PACKAGE / "base.py").exists() and not (fork / "scripts/e2mim").exists()


def test_lines_that_were_added_to_train_py_since_stay(fork):
    path = fork / "train.py"
    before = path.read_text()
    add(fork).carry_out()
    path.write_text(path.read_text().replace(IMPORT, f"{IMPORT}\nimport trainers.mine") + "# end\n")
    assert add(fork).is_empty()
    remove(fork).carry_out()
    coop_line = "import trainers.coop\n"
    assert path.read_text() == before.replace(coop_line, f"{coop_line}import trainers.mine\n") + "# end\n"


@pytest.mark.parametrize("action", [add, remove])
def test_edited_files_are_refused_by_name(fork, action):
    path = "configs/trainers/SEP/vit_b16_ep50_batch32.yaml"
    add(fork).carry_out()
    with open(fork / path, "a", encoding="utf-8") as file:
        file.write("# mine\n")
    before = state(fork)
    with pytest.raises(UserError, match=f"somebody has edited {path} since"):
        action(fork)
    assert state(fork) == before


@pytest.mark.parametrize("action", [add, remove])
def test_our_line_edited_in_train_py_is_refused(fork, action):
    add(fork).carry_out()
    path = fork / "train.py"
    path.write_text(path.read_text().replace(IMPORT, f"{IMPORT} as methods"))
    with pytest.raises(NoPlace, match="names prompt_methods otherwise than this command wrote it"):
        action(fork)


@pytest.mark.parametrize("gone", ["train.py", f"{PACKAGE}/sep.py", f"{PACKAGE}/prompting"])
def test_interrupted_or_taken_away_by_hand(fork, gone):
    """Adding mends it, removing takes the rest."""
    before = state(fork)
    original = (fork / "train.py").read_bytes()
    add(fork).carry_out()
    whole = state(fork)

    def harm():
        path = fork / gone
        path.write_bytes(original) if gone == "train.py" else path.unlink() if path.is_file() else shutil.rmtree(path)

    harm()
    add(fork).carry_out()
    assert state(fork) == whole
    harm()
    remove(fork).carry_out()
    assert state(fork) == before


# ---- refused ---------------------------------------------------------------------------------------------------


def test_names_that_are_taken(tmp_path):
    fork = sep(tmp_path / "SEP")
    with pytest.raises(UserError, match=r"trainer SEP of its own \(trainers/sep.py\).*--name SEP=SEP_ours"):
        add(fork)
    with pytest.raises(UserError, match=r"makes a config node TRAINER.COOP of its own.*--name CoOp=CoOp_ours"):
        add(fork, ["CoOp"])
    (fork / "trainers/broken.py").write_text("class (")
    (fork / "trainers/.ipynb_checkpoints").mkdir()
    shutil.copy(fork / "trainers/sep.py", fork / "trainers/.ipynb_checkpoints/sep-checkpoint.py")
    add(fork, names={"SEP": "SEP_ours"}).carry_out()


@pytest.mark.parametrize(
    "path",
    [f"{PACKAGE}/base.py", "configs/trainers/SEP/vit_b16_ep3_batch32.yaml", "scripts/e2mim/few_shot.sh"],
)
def test_files_that_would_be_overwritten(fork, path):
    (fork / path).parent.mkdir(parents=True)
    (fork / path).write_text("theirs\n")
    before = state(fork)
    with pytest.raises(UserError, match=f"has a file {path} already"):
        add(fork)
    assert state(fork) == before


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ({"SEP": "a b"}, "cannot be the name of a trainer"),
        ({"SEP": "e2mim"}, "Two trainers would be called"),
        ({"TCP": "X"}, "not among --trainers"),
        ({"Nothing": "X"}, 'Unknown trainer "Nothing": choose from ZeroshotCLIP'),
        ({"SEP": "CoOp"}, "has a trainer CoOp of its own"),
    ],
)
def test_wrong_names(fork, names, sentence):
    with pytest.raises(UserError, match=sentence):
        add(fork, names=names)


def test_another_name_for_what_is_there(fork):
    add(fork).carry_out()
    with pytest.raises(UserError, match="SEP is in the fork as SEP: --remove that first"):
        add(fork, names={"SEP": "SEP_ours"})


def test_trees_that_are_no_fork(tmp_path, fork):
    with pytest.raises(MissingFile, match="no folder"):
        add(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NoPlace, match="no train.py beside trainers/"):
        add(tmp_path / "empty")
    with pytest.raises(NoPlace, match="checkout of this repository"):
        add(REPOSITORY)
    coop(tmp_path / "Other")
    with pytest.raises(NoPlace, match=r"several forks in .* \(CoOp, Other\)"):
        add(tmp_path)
    for text, sentence in (("print(", "no Python"), ("import trainers.a\n", "does not call get_cfg_default")):
        (fork / "train.py").write_text(text)
        with pytest.raises(NoPlace, match=sentence):
            add(fork)


def test_uncommitted_changes(fork):
    commit(fork)
    (fork / "untracked.txt").write_text("x")
    add(fork).carry_out()  # what git does not know is nobody's change
    assert add(fork).is_empty()  # nor is what we have done
    (fork / "trainers/base.py").write_text("def words():\n    return 'edited'\n")
    for _ in range(2):
        with pytest.raises(NoPlace, match=r"changes that are not committed \(trainers/base.py\): commit or stash"):
            add(fork, ["TCP"])
        add(fork, ["TCP"], dirty=True)
        subprocess.run(["git", "add", "trainers/base.py"], cwd=fork, check=True)
    remove(fork).carry_out()
    assert "prompt_methods" not in (fork / "train.py").read_text()


def test_uncommitted_changes_of_a_fork_below_its_repository(tmp_path):
    root = KINDS["nested"](tmp_path / "nested")
    commit(tmp_path / "nested")
    (tmp_path / "nested/Dassl.pytorch/tools/train.py").write_text("edited\n")
    add(tmp_path / "nested").carry_out()  # it is not the fork's
    remove(tmp_path / "nested").carry_out()
    (root / "train.py").write_text((root / "train.py").read_text() + "\n")
    with pytest.raises(NoPlace, match=r"\(train.py\)"):
        add(tmp_path / "nested")


# ---- what it needs ---------------------------------------------------------------------------------------------


def test_needs_the_standard_library_alone(fork):
    code = (
        "import pathlib, sys; sys.path.insert(0, sys.argv[1]); from harness.forks import install, troubles;"
        "fork = pathlib.Path(sys.argv[2]); install.add(fork).carry_out(); troubles.of_fork(fork)"
    )
    subprocess.run([sys.executable, "-S", "-c", code, str(REPOSITORY), str(fork)], check=True, env=os.environ)
    assert not add(fork).write


def test_defaults_of_the_forks_dassl(fork, capsys):
    """HiCroPL's ends with the best model; what a run gives itself, or its data set, is nobody's default."""
    (fork / "dassl/engine").mkdir(parents=True)
    (fork / "dassl/engine/trainer.py").write_text("")
    (fork / "dassl/config").mkdir()
    defaults = '_C = CN()\n_C.TEST.FINAL_MODEL = "best_val"\n_C.SEED = 7\n_C.DATASET.NUM_SHOTS = 3\n_C.NEW = 1\n'
    (fork / "dassl/config/defaults.py").write_text(defaults)
    assert main([str(fork), "--dirty"]) == 0
    assert "state TEST.FINAL_MODEL 'last_step' in configs, as this fork has 'best_val'" in capsys.readouterr().out
    for path in (fork / "configs/trainers/SEP").glob("*.yaml"):
        text = path.read_text()
        assert yaml.safe_load(text)["TEST"] == {"FINAL_MODEL": "last_step"} and "this fork changes" in text
        assert "SEED" not in text and "NUM_SHOTS" not in text
    (fork / "dassl/config/defaults.py").write_text("print 'Python 2'\n")
    assert main([str(fork), "--dirty"]) == 0  # there is nothing to compare with


@pytest.mark.parametrize(
    "there, named, place",
    [
        (["caltech101", "btmri"], "caltech101", "configs/datasets"),
        (["chmnist", "btmri"], "btmri", "configs/datasets"),
        (["b2n/dtd", "xd/imagenet_a"], "dtd", "configs/datasets/*"),  # HPT's
        (["b2n/dtd", "xd/dtd"], "caltech101", "configs/datasets"),  # nobody could say which is meant
    ],
)
def test_data_sets_are_those_of_the_fork(fork, capsys, there, named, place):
    shutil.rmtree(fork / "configs/datasets", ignore_errors=True)
    for name in there:
        path = fork / f"configs/datasets/{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    assert main([str(fork), "--dirty"]) == 0
    assert f"base2new_train.sh {named} 1" in capsys.readouterr().out
    assert f'--dataset-config-file {place}/"${{DATASET}}.yaml" \\\n' in (fork / "scripts/sep/few_shot.sh").read_text()
