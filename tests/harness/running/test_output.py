"""An OUTPUT that cannot be written to: one sentence before anything starts; and whatever a run dies of is shown."""

import signal
import subprocess

import pytest

from tests.conftest import fill
from tests.harness.ground import Ground

ONE = ["--methods", "zsclip", "--datasets", "shapes", "--seeds", "1"]
RUN = "base2new/train_base/shapes/shots_16/ZeroshotCLIP/shapes/seed1"
FAILED = "FAILED: scripts/zsclip/base2new_train.sh shapes 1, "


@pytest.fixture
def ground(tmp_path):
    (tmp_path / "ground").mkdir()
    return Ground(tmp_path / "ground")


def place(kind, tmp_path, disk):
    """An OUTPUT that cannot be written to."""
    (tmp_path / "file").write_text("mine")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    if kind == "full":
        fill(disk("1m"))
        return disk("1m")
    if kind.startswith("read-only"):
        folder = disk("1m")
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        (tmp_path / "out").mkdir()
        (tmp_path / "out/base2new").symlink_to(folder)  # where one protocol's runs are
        return tmp_path / "out" if "below" in kind else folder
    return tmp_path / kind


PLACES = ["n" * 300, "read-only", "read-only below", "full"]
PLACES += "file file/below /proc/out /dev/full /dev/full/out dangling dangling/out loop".split()


@pytest.mark.parametrize("kind", PLACES)
def test_one_sentence_before_anything_starts(ground, checkout, disk, tmp_path, kind):
    output = place(kind, tmp_path, disk)
    before, there = sorted(tmp_path.rglob("*")), {"OUTPUT": output, "DATA": tmp_path}
    for script, *arguments in (
        ["sep/base2new_train", "dtd", 1],
        ["promptkd/base2new_train", "dtd", 1],
        ["sep/reproduce"],
    ):
        for force in ("", "1"):
            result = checkout(f"{script}.sh", *arguments, FORCE=force, **there)
            assert (result.returncode, checkout.calls) == (2, []) and is_said(result, output)
    for force in ("0", "1"):
        result = ground(*ONE, FORCE=force, **there)
        assert result.returncode == 2 and result.stdout == "" and is_said(result, output)
    assert not ground.journal("start")
    assert [path for path in sorted(tmp_path.rglob("*")) if "__pycache__" not in str(path)] == before


def is_said(result, output):
    (sentence,) = result.stderr.splitlines()
    said = " cannot be written to (", "): mend that, or set OUTPUT to another folder"
    return sentence.startswith(f"error: {output}") and all(text in sentence for text in said)


def test_what_is_finished_is_skipped_there_all_the_same(ground, checkout, disk):
    """Finished runs may be on a medium that nobody can write to."""
    folder = disk("1m")
    assert ground(*ONE, OUTPUT=folder / "output").returncode == 0
    checkout.finish(output=folder / "scripts")
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    done = ground(*ONE, OUTPUT=folder / "output")
    assert (done.returncode, done.stderr) == (0, "") and "2 runs: 2 skipped" in done.stdout
    skipped = checkout("sep/base2new_train.sh", "shapes", 1, OUTPUT=folder / "scripts")
    assert skipped.returncode == 0 and "finished already" in skipped.stdout and not checkout.calls
    dry = ground(*ONE, "--dry-run", OUTPUT=folder / "other")
    assert dry.returncode == 0 and "2 runs: 0 done, 2 to do" in dry.stdout


def failure(ground, *arguments, **env):
    """The lines that a sweep says of the first run that failed."""
    done = ground(*ONE, *arguments, **env)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    lines = done.stdout.splitlines()
    first = next(number for number, line in enumerate(lines) if FAILED in line)
    said = [lines[first].partition(FAILED)[2]]
    for line in lines[first + 1 :]:
        if not line.startswith("    "):
            break
        said.append(line.strip())
    return said


@pytest.mark.parametrize("name", ["console.txt", ".lock"])
def test_a_file_of_the_run_that_cannot_be_written(ground, name):
    path = ground.output / RUN / name
    path.mkdir(parents=True)
    head, *lines = failure(ground)
    assert head.startswith("exit code 1, ") and lines[-1] == f"{path}: Is a directory"
    assert not [run for run, *_ in ground.journal("start") if run == RUN]


def dies(ground, how):
    (ground.root / "train.py").write_text(f"import os, sys\ndef main(argv):\n    {how}\n")


@pytest.mark.parametrize("code", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_a_signal_is_named(ground, code):
    dies(ground, f"os.kill(os.getpid(), {int(code)})")
    head, *lines = failure(ground)
    assert head.startswith(f"exit code {128 + code} ({signal.strsignal(code)}), ") and lines[0].startswith("testing")


@pytest.mark.parametrize("code", [3, 129 + 64, 255])
def test_any_exit_code(ground, code):
    dies(ground, f"os._exit({code})")
    assert failure(ground)[0].startswith(f"exit code {code}, ") or code == 129 + 64


@pytest.mark.parametrize("how", ["raise MemoryError('no more')", "sys.stderr.close(); raise MemoryError('no more')"])
def test_an_error_that_nobody_expects(ground, how):
    dies(ground, how)
    assert "MemoryError('no more')" in failure(ground)[-1]


def test_a_console_on_a_disk_that_fills_up(ground, disk):
    """Nothing of what it says is in its folder then."""
    folder = disk("1m")
    text = "f = open(argv[argv.index('--output-dir') + 1] + '/filler', 'wb', 0)"
    dies(ground, f"{text}; print('x' * 5000)\n    while f.write(bytes(4096)): print('y' * 5000)")
    head, *lines = failure(ground, OUTPUT=folder)
    assert head.startswith("exit code 1, ") and lines[-1].endswith(": No space left on device")


def test_a_worker_that_dies_with_its_run(ground):
    dies(ground, "print('at work', flush=True); os.kill(os.getppid(), 9); os._exit(1)")
    head, *lines = failure(ground)
    assert head.startswith("exit code 137 (Killed), ") and "at work" in lines
