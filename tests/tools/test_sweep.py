"""tools/sweep.py: what it takes, and what it refuses, in one sentence and before anything starts."""

import pytest

from harness.running import sweep_file
from tests.conftest import REPOSITORY
from tools.sweep import main


@pytest.fixture
def sweep(tmp_path, monkeypatch, capsys):
    """sweep(argument, ..., VARIABLE=value) -> (exit code, stdout, stderr) of the command, called in `tmp_path`."""
    monkeypatch.chdir(tmp_path)
    for name in ("SEEDS", "CFG", "LOADEP", "FORCE"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments, **env):
        for name, value in {"OUTPUT": str(tmp_path / "out"), "DATA": str(tmp_path), **env}.items():
            monkeypatch.setenv(name, value)
        try:
            code = main(list(map(str, arguments)))
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return call


def test_flags_are_a_grid(sweep, tmp_path):
    flags = "--methods sep zsclip --protocols base2new few_shot --datasets shapes --seeds 2".split()
    code, out, err = sweep(*flags, "--source", "shapes", "--set", "OPTIM.LR", "0.1", "--dry-run")
    assert (code, err) == (0, "")
    runs = [f"scripts/{m}/base2new_{part}.sh shapes 2" for m in ("sep", "zsclip") for part in ("train", "test")]
    runs += [f"scripts/{m}/few_shot.sh shapes 2 {shots}" for m in ("sep", "zsclip") for shots in (1, 2, 4, 8, 16)]
    assert out.splitlines()[:-2] == [f"to do   {run} OPTIM.LR 0.1" for run in runs]
    assert not (tmp_path / "out").exists()


def test_seeds_of_the_environment_take_the_place_of_the_files(sweep):
    file = REPOSITORY / "configs/sweeps/demo_full.yaml"
    runs, of_one = (len(sweep_file.read(str(file), seeds=seeds)) for seeds in ([], [1]))
    assert runs == 3 * of_one
    for environ, n in (({}, runs), ({"SEEDS": "1"}, of_one)):
        assert f"{n} runs: 0 done, {n} to do\n" in sweep("--config", file, "--dry-run", **environ)[1]


def test_a_dry_run_names_missing_data_sets_too(sweep, tmp_path):
    code, out, err = sweep("--methods", "sep", "--dry-run", "--seeds", "1")
    assert code == 2 and err.startswith("error: data sets are missing: no ")
    assert f"{tmp_path}/caltech-101, " in err and "get caltech101 dtd " in err
    assert "22 runs: 0 done, 22 to do\n" in out


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
def test_what_is_wrong_is_one_sentence(sweep, tmp_path, arguments, env, sentence):
    code, _, err = sweep(*arguments, **env)
    assert code in (1, 2) and sentence in err.splitlines()[-1], err
    assert not (tmp_path / "out/base2new").exists()
