"""Links that lead into other forks, and line ends that git changes."""

import os
import shutil
import subprocess

import pytest

from harness.forks.install import add, remove
from harness.forks.train_file import NoPlace
from tests.harness.forks.trees import KINDS, PACKAGE, commit, coop, kept, state


@pytest.mark.parametrize("place", ["trainers", "train.py", "configs", "configs/trainers", "scripts"])
@pytest.mark.parametrize("added_before", [False, True])
def test_what_two_forks_share_is_refused(fork, tmp_path, place, added_before):
    other = coop(tmp_path / "Other")
    if added_before:
        add(fork).carry_out()
    path = other / place
    path.unlink() if path.is_file() else shutil.rmtree(path)
    path.symlink_to(os.path.relpath(fork / place, path.parent))
    before = state(tmp_path)
    for action in (add, remove) if added_before and place == "trainers" else (add,):
        with pytest.raises(NoPlace, match=f"{path} is a link to .*, which may be of another fork, too"):
            action(other)
    assert state(tmp_path) == before
    add(fork).carry_out()  # it is this fork's own
    remove(fork).carry_out()


def test_a_folder_of_ours_that_became_a_link(fork, tmp_path):
    add(fork).carry_out()
    (fork / "configs/trainers/SEP").rename(tmp_path / "SEP")
    (fork / "configs/trainers/SEP").symlink_to(tmp_path / "SEP")
    for action in (add, remove):
        with pytest.raises(NoPlace, match="configs/trainers/SEP is a link to"):
            action(fork)


@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["from LF", "from CRLF"])
@pytest.mark.parametrize("kind", ["coop", "dept"])
def test_a_fork_whose_line_ends_git_changes(tmp_path, kind, end):
    fork = KINDS[kind](tmp_path / kind)

    def check_out_again():
        for command in ("config core.autocrlf true", "rm -r -q --cached .", "reset -q --hard"):
            subprocess.run(["git", *command.split()], cwd=fork, check=True)

    commit(fork)
    if end == b"\r\n":
        check_out_again()
    before = kept(fork)
    assert before["train.py"].count(end) == before["train.py"].count(b"\n")
    add(fork).carry_out()
    added = (fork / "train.py").read_bytes()
    assert added.count(end) == added.count(b"\n")
    commit(fork)
    check_out_again()
    assert b"\r\n" in (fork / PACKAGE / "sep.py").read_bytes()
    assert add(fork).is_empty()
    plan = add(fork, ["TCP"])
    assert f"{PACKAGE}/tcp.py" in plan.write and not {f"{PACKAGE}/sep.py", "train.py"} & set(plan.write)
    plan.carry_out()
    remove(fork).carry_out()
    assert kept(fork) == {path: content.replace(end, b"\r\n") for path, content in before.items()}
