"""The command killed at every operation on the disk, and inside every write: then again, or taken away, to the byte."""

import builtins
import os
import shutil

import pytest

from harness.forks import install, tree
from harness.forks.content import Added
from harness.forks.install import add, remove
from tests.harness.forks.trees import coop, state


class Killed(BaseException):
    """From then on the process does nothing more on the disk."""


class Disk:
    """Counts what changes the disk; the `n`th is not done, or done by half where it is a write, nor any behind it."""

    CHANGES = ("replace", "unlink", "rmdir", "mkdir", "fsync", "fchmod")

    def __init__(self, monkeypatch, n):
        self.left, self.dead = n, False
        for name in self.CHANGES:
            monkeypatch.setattr(os, name, self._counted(getattr(os, name)))
        monkeypatch.setattr(builtins, "open", self._opened(open))

    def _dies(self):
        self.left -= 1
        self.dead = self.dead or self.left < 0
        return self.dead

    def _counted(self, change):
        def counted(*args, **options):
            if self._dies():
                raise Killed
            return change(*args, **options)

        return counted

    def _opened(self, open_file):
        def opened(path, mode="r", *args, **options):
            if "x" not in mode and "w" not in mode:
                return open_file(path, mode, *args, **options)
            if self._dies():
                raise Killed
            file = open_file(path, mode, *args, **options)
            write = file.write

            def by_half(content):
                if self._dies():
                    write(content[: len(content) // 2])
                    file.flush()
                    raise Killed
                return write(content)

            return _File(file, by_half)

        return opened


class _File:
    def __init__(self, file, write):
        self._file, self.write = file, write

    def __getattr__(self, name):
        return getattr(self._file, name)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._file.close()


def killed_at(n, monkeypatch, change) -> bool:
    """Whether `change` was killed at its `n`th operation, and not done before."""
    with monkeypatch.context() as patched:
        Disk(patched, n)
        try:
            change()
        except Killed:
            return True
    return False


VERSION = "1"


def few_files(added: list[Added], *_):
    """What this command adds, in small: files that stay, that differ between versions, that come and go with them."""
    texts = {
        "trainers/prompt_methods/__init__.py": ", ".join(each.name for each in added),
        "trainers/prompt_methods/base.py": "base\n",
        f"trainers/prompt_methods/run/version_{VERSION}.py": VERSION,
    }
    for each in added:
        texts[f"trainers/prompt_methods/{each.method.folder}.py"] = f"{VERSION}\n" * 1000
        texts[f"configs/trainers/{each.name}/of_version_{VERSION}.yaml"] = "A: 1\n"
        texts[f"scripts/{each.folder}/few_shot.sh"] = f"echo {VERSION}\n"
    return {path: text.encode() for path, text in texts.items()}


def version(monkeypatch, number):
    monkeypatch.setitem(globals(), "VERSION", number)


def cleans_configs(fork):
    """As DePT's, so that train.py needs a second line of ours."""
    path = fork / "train.py"
    path.write_text(
        path.read_text().replace("    extend_cfg(cfg)\n", "    clean_cfg(cfg, 'A')\n    extend_cfg(cfg)\n", 1)
    )


def plain(fork, monkeypatch):
    """Nothing was added before."""


def with_another_method(fork, monkeypatch):
    add(fork, ["TCP"]).carry_out()


def with_an_older_version(fork, monkeypatch):
    version(monkeypatch, "0")
    add(fork).carry_out()
    version(monkeypatch, "1")


def with_an_older_version_and_fewer_lines(fork, monkeypatch):
    with_an_older_version(fork, monkeypatch)
    cleans_configs(fork)


@pytest.mark.parametrize(
    ("change", "before"),
    [
        pytest.param(add, plain, marks=pytest.mark.long),
        pytest.param(add, with_another_method, marks=pytest.mark.long),
        pytest.param(add, with_an_older_version, marks=pytest.mark.long),
        pytest.param(add, with_an_older_version_and_fewer_lines, marks=pytest.mark.long),
        (remove, plain),
    ],
)
def test_killed_at_every_operation(tmp_path, monkeypatch, change, before):
    monkeypatch.setattr(install, "files", few_files)
    assert kills(tmp_path, monkeypatch, before, change) > 20


@pytest.mark.long
@pytest.mark.parametrize("change", [add, remove])
def test_killed_among_all_files(tmp_path, monkeypatch, change):
    assert kills(tmp_path, monkeypatch, plain, change, step=7) > 10


def kills(tmp_path, monkeypatch, before, change, step=1):
    """Kill `change` everywhere: added again it is whole, taken away the fork is as it was, to the byte.

    Also where that is killed once, at the same operation. Returns how often it was killed.
    """
    monkeypatch.setattr(tree, "changed_in_git", lambda root: [])  # two processes each time, and there is no git
    fork, there, killed = (tmp_path / name for name in ("CoOp", "there", "killed"))
    coop(fork)
    (fork / "train.py").chmod(0o755)
    before(fork, monkeypatch)
    copy(fork, there)
    if before is not plain:
        remove(fork).carry_out()
    clean = {remove: state(fork)}
    copy(there, fork)
    add(fork).carry_out()
    clean[add] = state(fork)
    if change is remove:
        copy(fork, there)

    def to_the_end(end):
        if state(fork) != clean[end]:  # or there is nothing to remove
            end(fork).carry_out()

    for n in range(0, 10_000, step):
        copy(there, fork)
        if not killed_at(n, monkeypatch, lambda: change(fork).carry_out()):
            assert state(fork) == clean[change]
            return n // step
        copy(fork, killed)
        for end in (add, remove):
            for again in (False, True):
                copy(killed, fork)
                if again:
                    killed_at(n, monkeypatch, lambda end=end: to_the_end(end))
                to_the_end(end)
                assert state(fork) == clean[end], f"killed at operation {n}, then {end.__name__}"


def copy(folder, to):
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(folder, to)
