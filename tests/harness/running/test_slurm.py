"""--engine slurm, on a real SLURM of one node that has no accounting database."""

import subprocess

import pytest

from tests.harness.ground import Ground, wait_for
from tests.harness.running.slurm import slurm  # noqa: F401  a fixture

pytestmark = [pytest.mark.slurm, pytest.mark.long]
GRID = ["--methods", "coop", "zsclip", "--datasets", "shapes", "--seeds", 1, 2]
CLUSTER = ["--engine", "slurm", "--partition", "short", "--time", 5, "--gpus", 0, "--cpus", 1]
COOP = "base2new/train_base/shapes/shots_16/CoOp/shapes/seed1"


@pytest.fixture
def ground(tmp_path, slurm):  # noqa: F811
    return Ground(tmp_path)


def queue():
    """{job: state} of what waits or runs."""
    command = ["squeue", "--noheader", "--array", "--format=%i %T"]
    return dict(line.split() for line in subprocess.check_output(command, text=True).splitlines())


def test_a_grid_runs_as_job_arrays_and_what_fails_once_more(ground):
    done = ground(*GRID, *CLUSTER, FAIL=f"{COOP}:1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == "" and "sacct" not in done.stdout
    assert done.stdout.splitlines()[-1] == "8 runs: 8 done" and "exit code 7, once more: " in done.stdout
    times = ground.times("start")
    assert len(times) == 8 and times.pop(COOP) == 2 and set(times.values()) == {1}
    assert {cwd for *_, cwd in ground.journal("start")} == {str(ground.cwd)}
    assert not queue() and not list((ground.output / ".sweep").iterdir())  # and nothing is left behind
    assert ground(*GRID, *CLUSTER).stdout.splitlines()[-1] == "8 runs: 8 skipped"


def test_a_requeued_job_goes_on_and_the_sweep_may_die(ground):
    grid = ["--methods", "coop", "--datasets", "shapes", "--seeds", 1]
    sweep = ground.start(*grid, *CLUSTER, EPOCH=5)  # longer than SLURM takes to kill it
    first = ground.output / COOP / "prompt_learner/model.pth.tar-1"
    wait_for(first.exists)
    sweep.kill()
    sweep.wait()
    made = first.stat().st_mtime_ns
    (job,) = queue()
    subprocess.run(["scontrol", "requeue", job], check=True)
    wait_for(lambda: ground.times("start")[COOP] == 2)
    other = ground(*grid, *CLUSTER)  # waits for the job of the first
    assert other.returncode == 0, other.stdout + other.stderr
    assert " is in use by process " in other.stdout
    assert ground.times("end") == {COOP: 1, COOP.replace("train_base", "test_new"): 1} and not ground.journal("overlap")
    assert first.stat().st_mtime_ns == made  # not trained again


def test_a_time_out_is_requeued_as_the_same_chain(ground):
    """submitit's signal stops the run, and asks for the job again."""
    grid = ["--methods", "coop", "--datasets", "shapes", "--seeds", 1]
    sweep = ground.start(*grid, *CLUSTER, EPOCH=2)
    wait_for(lambda: (ground.output / COOP / "prompt_learner/model.pth.tar-1").exists())
    (job,) = queue()
    subprocess.run(["scancel", "--signal=USR2", job], check=True)  # as 90 seconds before --time
    out, err = sweep.communicate(timeout=170)
    assert (sweep.returncode, err) == (0, ""), out
    assert ground.times("start")[COOP] == 2 and ground.times("end")[COOP] == 1


def test_a_job_that_is_taken_away_is_noticed_without_accounting(ground):
    sweep = ground.start("--methods", "coop", "--datasets", "shapes", "--seeds", 1, *CLUSTER, EPOCH=4)
    wait_for(lambda: ground.times("start"))
    subprocess.run(["scancel", *queue()], check=True)
    out, err = sweep.communicate(timeout=100)
    assert (sweep.returncode, err) == (0, ""), out
    assert "exit code 137, once more: scripts/coop/base2new_train.sh shapes 1" in out


def test_ctrl_c_takes_the_jobs_back(ground):
    sweep = ground.start(*GRID, *CLUSTER, EPOCH=60)
    wait_for(lambda: ground.times("start"))
    sweep.send_signal(2)
    _, err = sweep.communicate(timeout=30)
    assert sweep.returncode == 130 and err == "stopped; the same command goes on from there\n"
    wait_for(lambda: not queue())


def test_what_the_cluster_refuses_is_one_sentence(ground):
    refused = ground(*GRID, "--engine", "slurm", "--partition", "long", "--gpus", 0)
    assert refused.returncode == 1 and len(refused.stderr.splitlines()) == 1
    assert refused.stderr.startswith("error: sbatch refuses the jobs: ") and "partition" in refused.stderr
