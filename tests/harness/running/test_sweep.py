"""A sweep on this machine, of short made-up runs: order, failures, limits, interruptions, and kills at random."""

import fcntl
import os
import random
import signal
import struct
import subprocess
import termios
import time
from pty import openpty

import pytest

from harness.running import engines
from harness.running.lock import locked
from tests.conftest import python
from tests.harness.ground import Ground, wait_for

GRID = ["--methods", "zsclip", "coop", "--datasets", "shapes", "--seeds", "1"]
TWO = ["--methods", "coop", "sep", "--datasets", "shapes", "--seeds", "1", "--jobs", "2"]
COOP = "train_base/shapes/shots_16/CoOp/shapes/seed1"


@pytest.fixture
def ground(tmp_path):
    return Ground(tmp_path)


def test_a_grid_is_done_and_then_skipped(ground):
    done = ground(*GRID, "--protocols", "xd", "dg", "--source", "shapes", "--datasets", "shapes_dark")
    assert (done.returncode, done.stderr) == (0, "")
    order = [run for run, *_ in ground.journal("end")]
    assert order == [
        f"xd/{part}/shots_16/{trainer}/shapes/seed1"
        for trainer in ("ZeroshotCLIP", "CoOp")
        for part in ("train/shapes", "test/shapes_dark")
    ]
    assert done.stdout.splitlines()[0] == "4 runs, 0 finished before"
    assert done.stdout.splitlines()[-1] == "4 runs: 4 done"
    assert "[3 of 4] done: scripts/coop/xd_train.sh shapes 1, 46.00 %, 60 s  (to do 1, done 3)\n" in done.stdout
    again = ground(*GRID, "--protocols", "xd", "--source", "shapes", "--datasets", "shapes_dark")
    assert again.returncode == 0 and again.stdout.splitlines()[-1] == "4 runs: 4 skipped"
    assert len(ground.journal("start")) == 4


def test_forcing_starts_over_once_and_a_failed_run_is_tried_once_more(ground):
    assert ground(*GRID).returncode == 0
    done = ground(*GRID, FORCE=1, FAIL=f"{COOP}:2")
    assert (done.returncode, done.stderr) == (0, "") and "exit code 7, once more: scripts/coop/" in done.stdout
    assert sorted(ground.times("end").values()) == [2, 2, 2, 2] and ground.times("start")[f"base2new/{COOP}"] == 3


def test_on_a_terminal_there_is_a_bar(ground):
    ours, theirs = openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 120, 0, 0))
    assert subprocess.run(**ground.options(*GRID, TERM="xterm"), stdout=theirs, stderr=theirs).returncode == 0
    os.close(theirs)
    said = b""
    while len(said) < 200_000:
        try:
            said += os.read(ours, 10_000)
        except OSError:  # the end
            break
    os.close(ours)
    assert b"| 3/4 running 1, done 3" in said and b"[4 of 4] done: scripts/coop/base2new_test.sh shapes 1, " in said


def test_runs_see_what_they_are_given(ground):
    """The folder that the sweep was called from, one GPU each, and their share of the cores."""
    assert ground(*TWO, EPOCH=0.1, CUDA_VISIBLE_DEVICES="3,5").returncode == 0
    starts = ground.journal("start")
    assert {device for _, device, *_ in starts} == {"3", "5"}
    share = str(max(1, len(os.sched_getaffinity(0)) // 2))
    assert {threads for _, _, threads, _ in starts} == {share} and {cwd for *_, cwd in starts} == {str(ground.cwd)}


def test_one_run_at_a_time_has_all_cores(ground):
    assert ground(*GRID, PATH="/nowhere").returncode == 0  # no nvidia-smi
    assert {(device, threads) for _, device, threads, _ in ground.journal("start")} == {("unset", "unset")}


@pytest.mark.parametrize(
    ("visible", "listed", "found"),
    [
        (None, "exit 1", [None]),
        (None, 'echo "GPU 0: A"; echo "GPU 1: B"', ["0", "1"]),
        (None, "echo No devices", [None]),
        ("", "exit 1", [""]),
        ("7,3", 'echo "GPU 0: A"', ["7", "3"]),
    ],
)
def test_devices_are_those_that_are_visible(tmp_path, monkeypatch, visible, listed, found):
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{listed}\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert engines.devices() == found


def test_a_run_that_fails_twice_holds_up_only_what_needs_it(ground):
    failed = ground(*GRID, FAIL=f"{COOP}:2")
    assert failed.returncode == 1 and failed.stdout.splitlines()[-1] == "4 runs: 2 done, 1 failed, 1 held up"
    console = f"{ground.output}/base2new/{COOP}/console.txt"
    assert f"FAILED: scripts/coop/base2new_train.sh shapes 1, exit code 7, {console}:" in failed.stdout
    assert "    error: this run is to fail\n" in failed.stdout
    assert failed.stderr.splitlines() == [
        f"failed: scripts/coop/base2new_train.sh shapes 1: {console}",
        "not run, since its training failed: scripts/coop/base2new_test.sh shapes 1",
    ]
    assert ground(*GRID).stdout.splitlines()[-1] == "4 runs: 2 done, 2 skipped"


def test_what_is_refused_is_not_tried_again(ground):
    (ground.root / "train.py").write_text("def main(argv):\n    print('error: another lr')\n    return 2\n")
    refused = ground("--methods", "zsclip", "--datasets", "shapes", "--seeds", "1")
    assert refused.returncode == 1 and "once more" not in refused.stdout and "    error: another lr" in refused.stdout


def test_a_worker_that_cannot_start_ends_the_sweep(ground):
    (ground.root / "train.py").write_text("import no_such_module\n")
    failed = ground(*GRID)
    assert failed.returncode == 1 and failed.stderr.startswith("error: no worker starts on this machine: ")
    assert "No module named 'no_such_module'" in failed.stderr and len(failed.stderr.splitlines()) == 1


def test_missing_data_sets_are_named_before_anything_starts(ground):
    (ground.root / "datasets").mkdir()
    (ground.root / "datasets/dtd.py").write_text('    dataset_dir = "dtd"\n')
    missing = ground("--methods", "zsclip", "--datasets", "shapes", "dtd")
    assert missing.returncode == 2 and missing.stdout == ""
    assert missing.stderr == (
        f"error: data sets are missing: no {ground.root}/data/dtd; python tools/prepare_data.py get dtd fetches them, "
        "DATA says where they are\n"
    )


def test_a_dry_run_says_what_there_is_and_how_long_the_rest_takes(ground):
    grid = ["--methods", "coop", "--datasets", "shapes"]
    first = ground(*grid, "--dry-run")
    assert first.returncode == 0 and first.stdout.endswith("no estimate: none of their kind is finished\n")
    assert ground(*grid, "--seeds", "1").returncode == 0
    holder = locked(ground.output / "base2new/train_base/shapes/shots_16/CoOp/shapes/seed2")
    with holder:
        dry = ground(*grid, "--dry-run", "--set", "OPTIM.LR", "0.1", "--jobs", "2")
        assert dry.stdout.splitlines()[0] == "to do   scripts/coop/base2new_train.sh shapes 1 OPTIM.LR 0.1"
        dry = ground(*grid, "--dry-run", "--jobs", "2")
    assert dry.stdout.splitlines() == [
        "done    scripts/coop/base2new_train.sh shapes 1",
        "done    scripts/coop/base2new_test.sh shapes 1",
        "in use  scripts/coop/base2new_train.sh shapes 2",
        "to do   scripts/coop/base2new_test.sh shapes 2",
        "to do   scripts/coop/base2new_train.sh shapes 3",
        "to do   scripts/coop/base2new_test.sh shapes 3",
        "6 runs: 2 done, 4 to do, 1 of them in use",
        "about 0.03 hours, 2 at once",  # four times 60 seconds
    ]
    assert len(ground.journal("start")) == 2


def test_ctrl_c_stops_the_children_and_says_what_goes_on(ground):
    sweep = ground.start(*TWO, EPOCH=60)
    wait_for(lambda: len(ground.journal("start")) == 2)
    os.killpg(sweep.pid, signal.SIGINT)  # to all of its group, as a terminal sends it
    out, err = sweep.communicate(timeout=30)
    assert sweep.returncode == 130 and err == "stopped; the same command goes on from there\n"
    assert "stopping 2 runs ..." in out and not processes(ground)
    assert ground(*TWO).returncode == 0


def test_two_sweeps_of_one_folder_share_the_work(ground):
    grid = ["--methods", "coop", "zsclip", "--datasets", "shapes", "--seeds", "1", "2"]
    sweeps = [ground.start(*grid, EPOCH=0.1) for _ in range(2)]
    said = [sweep.communicate(timeout=60)[0] for sweep in sweeps]
    assert [sweep.returncode for sweep in sweeps] == [0, 0], said
    assert set(ground.times("end").values()) == {1} and len(ground.times("end")) == 8 and not ground.journal("overlap")
    assert "waiting: " in "".join(said) and " is in use by process " in "".join(said)


def processes(ground):
    """Ids of all living processes of this ground's sweeps."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                ours = f"JOURNAL={ground.journal_file}\0".encode() in file.read()
            with open(f"/proc/{name}/stat", encoding="utf-8") as file:
                alive = file.read().rpartition(") ")[2][0] != "Z"
        except OSError:
            continue
        found += [int(name)] if ours and alive else []
    return found


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


@pytest.mark.long
def test_kills_at_random_end_in_the_same_table(ground, tmp_path_factory):
    """kill -9 of the sweep, its workers and its runs, twenty times."""
    grid = ["--methods", "zsclip", "coop", "sep", "--datasets", "shapes", "dtd", "--seeds", "1", "2", "--jobs", "2"]
    whole = Ground(tmp_path_factory.mktemp("whole"))
    assert whole(*grid).returncode == 0
    seed = int(time.time())
    print(f"seed {seed}")
    rng, sweep = random.Random(seed), None
    for _ in range(20):
        if sweep is None or sweep.poll() is not None:
            sweep = ground.start(*grid, EPOCH=0.1)
        time.sleep(rng.uniform(0.2, 1.5))
        everything = processes(ground)
        for pid in rng.choice([[sweep.pid], everything, rng.sample(everything, min(len(everything), 1))]):
            kill(pid)
        if rng.random() < 0.5:  # the rest would otherwise often be done before the twentieth
            kill(sweep.pid)
            sweep.wait()
    kill(sweep.pid)
    end = ground(*grid)
    if end.returncode == 1:  # a run that was killed twice has failed
        end = ground(*grid)
    assert end.returncode == 0, end.stdout + end.stderr
    assert ground.results() == whole.results() and len(ground.results()) == 24
    assert ground.times("end") == whole.times("end") and not ground.journal("overlap")


def test_where_cuda_has_started_all_the_same_a_run_is_a_process_of_its_own(ground):
    fake = "import sys, types\nsys.modules['torch'] = torch = types.ModuleType('torch')\n"
    fake += "torch.cuda = types.SimpleNamespace(_is_in_bad_fork=lambda: __name__ == 'train')\n"
    as_script = "\nif __name__ == '__main__':\n    import sys\n    sys.exit(main(sys.argv[1:]))\n"
    path = ground.root / "train.py"
    note = 'note("as", __name__)\n    note("end"'
    path.write_text(fake + path.read_text().replace('note("end"', note) + as_script)
    assert ground(*GRID, FAIL=f"{COOP}:1").returncode == 0  # and its exit code arrives
    assert len(ground.journal("end")) == 4 and ground.journal("as") == 4 * [["__main__"]]


@pytest.mark.long
def test_one_worker_does_hundreds_of_runs(ground):
    """A process for each would take minutes, more than `ground` waits."""
    seeds = [str(seed) for seed in range(150)]
    done = ground("--methods", "zsclip", "--datasets", "shapes", "--seeds", *seeds)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "300 runs: 300 done"


@pytest.mark.long
def test_loading_does_not_start_cuda():
    """A fork of a process where it has started cannot use the GPU; clip asks for one when it is imported."""
    code = """
import os, torch
def asked():
    assert os.environ.get("PYTORCH_NVML_BASED_CUDA_CHECK") == "1", "CUDA has started"
    print("asked")
    return False
def started(*args): raise AssertionError("CUDA has started")
torch.cuda.is_available = asked
torch.cuda.init = torch.cuda._lazy_init = started
from harness.running import worker
worker.load()
assert "PYTORCH_NVML_BASED_CUDA_CHECK" not in os.environ
"""
    assert "asked" in python(code)
