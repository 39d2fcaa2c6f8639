"""tools/sweep.py: what it takes, and what it refuses, in one sentence and before anything starts."""

import subprocess
import sys

import pytest

from harness.running import sweep_file
from tests.conftest import REPOSITORY


def sweep(tmp_path, *arguments, **env):
    command = [sys.executable, str(REPOSITORY / "tools/sweep.py"), *map(str, arguments)]
    env = {"PATH": "/usr/bin:/bin", "OUTPUT": str(tmp_path / "out"), "DATA": str(tmp_path), **env}
    return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)


def test_flags_are_a_grid(tmp_path):
    flags = "--methods sep zsclip --protocols base2new few_shot --datasets shapes --seeds 2".split()
    dry = sweep(tmp_path, *flags, "--source", "shapes", "--set", "OPTIM.LR", "0.1", "--dry-run")
    assert (dry.returncode, dry.stderr) == (0, "")
    runs = [f"scripts/{m}/base2new_{part}.sh shapes 2" for m in ("sep", "zsclip") for part in ("train", "test")]
    runs += [f"scripts/{m}/few_shot.sh shapes 2 {shots}" for m in ("sep", "zsclip") for shots in (1, 2, 4, 8, 16)]
    assert dry.stdout.splitlines()[:-2] == [f"to do   {run} OPTIM.LR 0.1" for run in runs]
    assert not (tmp_path / "out").exists()


def test_seeds_of_the_environment_take_the_place_of_the_files(tmp_path):
    file = REPOSITORY / "configs/sweeps/demo_full.yaml"
    runs, of_one = (len(sweep_file.read(str(file), seeds=seeds)) for seeds in ([], [1]))
    assert runs == 3 * of_one
    assert f"{runs} runs: 0 done, {runs} to do\n" in sweep(tmp_path, "--config", file, "--dry-run").stdout
    assert (
        f"{of_one} runs: 0 done, {of_one} to do\n" in sweep(tmp_path, "--config", file, "--dry-run", SEEDS="1").stdout
    )


def test_a_dry_run_names_missing_data_sets_too(tmp_path):
    dry = sweep(tmp_path, "--methods", "sep", "--dry-run", "--seeds", "1")
    assert dry.returncode == 2 and dry.stderr.startswith("error: data sets are missing: no ")
    assert f"{tmp_path}/caltech-101, " in dry.stderr and "get caltech101 dtd " in dry.stderr
    assert "22 runs: 0 done, 22 to do\n" in dry.stdout


@pytest.mark.parametrize(
    ("arguments", "env", "sentence"),
    [
        ([], {}, "name a grid with --config or with --methods"),
        (["--config", "a.yaml", "--methods", "sep"], {}, "name a grid with --config or with --methods"),
        (["--methods", "sepp"], {}, 'error: no method "sepp"; there are zsclip, coop'),
        (["--methods", "sep", "--datasets", "dtdd"], {}, 'error: no data set "dtdd"'),
        (["--methods", "sep", "--set", "OPTIM.LR"], {}, "--set: OPTIM.LR stands alone"),
        (["--methods", "sep", "--seeds", "one"], {}, 'error: seeds must be a whole number, not "one"'),
        (["--methods", "sep", "--jobs", "0"], {}, "--jobs must be at least 1"),
        (["--config", "no.yaml"], {}, "error: Config file no.yaml does not exist"),
        (["--methods", "sep", "--datasets", "shapes"], {"CFG": "none"}, 'error: no config "none"'),
        (
            ["--methods", "sep", "--datasets", "shapes", "--engine", "slurm"],
            {"PATH": "/"},
            "error: there is no SLURM here",
        ),
    ],
)
def test_what_is_wrong_is_one_sentence(tmp_path, arguments, env, sentence):
    refused = sweep(tmp_path, *arguments, **env)
    assert refused.returncode in (1, 2) and sentence in refused.stderr.splitlines()[-1], refused.stderr
    assert "Traceback" not in refused.stderr and not (tmp_path / "out/base2new").exists()
