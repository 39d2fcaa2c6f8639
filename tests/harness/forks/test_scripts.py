"""The scripts that come along, as bash runs them: what they call, which config they choose, and what they skip."""

import itertools
import os
import subprocess

import pytest

from harness import catalogue
from harness.forks.content import Added, steps_in_a_fork
from harness.forks.install import add
from harness.running.protocols import make_job
from tests.conftest import REPOSITORY
from tests.harness.forks.trees import coop

# Notes what train.py was called with
PYTHON = '#!/bin/sh\n[ "$1" = train.py ] && pwd >"$RECORD" && printf "%s\\n" "$@" >>"$RECORD"\n'


class Scripts:
    def __init__(self, folder):
        self.fork, self.record, self.shims = coop(folder / "my fork"), folder / "record", folder / "bin"
        self.shims.mkdir()
        (self.shims / "python").write_text(PYTHON)
        (self.shims / "python").chmod(0o755)
        names = {trainer: f"{trainer}_ours" for trainer in ("CoOp", "ZeroshotCLIP")}
        add(self.fork, catalogue.TRAINERS, names).carry_out()

    def __call__(self, script, *args, **env):
        """(what it printed and its exit code, what train.py was called with)."""
        self.record.unlink(missing_ok=True)
        env = {"PATH": f"{self.shims}:{os.environ['PATH']}", "RECORD": str(self.record), **env}
        command = ["bash", str(self.fork / "scripts" / script), *map(str, args)]
        done = subprocess.run(command, env=env, cwd="/", capture_output=True, text=True)
        called = self.record.read_text().splitlines() if self.record.exists() else []
        return done, called

    def model(self, place):
        (self.fork / "output" / place).mkdir(parents=True)


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    return Scripts(tmp_path_factory.mktemp("scripts"))


def test_what_they_call(scripts):
    place = "caltech101/shots_16/SEP/vit_b16_ep50_batch32/seed1"
    options = ["--root", "/my data", "--seed", "1", "--trainer", "SEP"]
    files = ["--dataset-config-file", "configs/datasets/caltech101.yaml", "--config-file",
             "configs/trainers/SEP/vit_b16_ep50_batch32.yaml", "--output-dir"]  # fmt: skip
    done, called = scripts("sep/base2new_train.sh", "caltech101", 1, "OPTIM.LR", "0.1", DATA="/my data")
    pairs = ["DATASET.NUM_SHOTS", "16", "DATASET.SUBSAMPLE_CLASSES", "base", "OPTIM.LR", "0.1"]
    folder = f"output/base2new/train_base/{place}"
    assert done.returncode == 0 and called == [str(scripts.fork), "train.py", *options, *files, folder, *pairs]

    assert scripts("sep/base2new_train.sh", "caltech101", 1, PYTHON="/no/python")[0].returncode == 127
    done, called = scripts("sep/base2new_test.sh", "caltech101", 1)
    assert (done.returncode, called) == (1, [])
    assert done.stdout == f"No model at {folder}: first run bash scripts/sep/base2new_train.sh caltech101 1\n"
    scripts.model(f"base2new/train_base/{place}")
    for epoch, load in (("", []), ("3", ["--load-epoch", "3"])):
        done, called = scripts("sep/base2new_test.sh", "caltech101", 1, DATA="/my data", LOADEP=epoch)
        tested = [f"output/base2new/test_new/{place}", "--model-dir", folder, *load, "--eval-only"]
        pairs = ["DATASET.NUM_SHOTS", "16", "DATASET.SUBSAMPLE_CLASSES", "new"]
        assert called == [str(scripts.fork), "train.py", *options, *files, *tested, *pairs]


def test_a_result_is_not_made_again(scripts):
    place = "few_shot/dtd/shots_4/E2MIM/vit_b16_ep50_batch32/seed2"
    scripts.model(place)
    assert scripts("e2mim/few_shot.sh", "dtd", 2, 4)[1]  # an interrupted training goes on
    (scripts.fork / "output" / place / "metrics.json").write_text("{}")
    done, called = scripts("e2mim/few_shot.sh", "dtd", 2, 4)
    assert not called and done.stdout == f"The results exist at output/{place} (so skip this job)\n"


@pytest.mark.parametrize("args", [(), ("caltech101",)])
def test_usage(scripts, args):
    done, called = scripts("tcp/base2new_train.sh", *args)
    assert (done.returncode, called) == (2, []) and "base2new_train.sh DATASET SEED [KEY VALUE ...]" in done.stdout


def test_what_is_set_in_the_environment(scripts):
    _, called = scripts("tcp/base2new_train.sh", "dtd", 1, CFG="mine", SHOTS="4")
    assert "configs/trainers/TCP/mine.yaml" in called
    assert "output/base2new/train_base/dtd/shots_4/TCP/mine/seed1" in called
    assert called[called.index("--root") + 1] == "data"


def test_without_a_model_where_nothing_is_learned(scripts):
    _, called = scripts("zeroshotclip_ours/xd_test.sh", "dtd", 1)
    assert "--eval-only" in called and "--model-dir" not in called


@pytest.mark.parametrize("method", catalogue.METHODS, ids=lambda method: method.folder)
def test_configs_are_the_catalogues(scripts, method):
    """Of every data set and number of shots that a config is for, and of others."""
    names = {trainer: f"{trainer}_ours" for trainer in ("CoOp", "ZeroshotCLIP")}
    added = Added(method, names.get(method.trainer, method.trainer))
    datasets = {"dtd", *(name for config in method.configs for name in config.datasets.split())}
    shots = {"16", *(n for config in method.configs for n in config.shots.split())}
    for step in steps_in_a_fork(method):
        script = step.script
        for dataset, n in itertools.product(datasets, shots):
            job = make_job(script, method, dataset, 1, int(n), source=dataset)
            place, source = (job.place(job.config())._replace(trainer=added.name) for _ in range(2))
            if job.needs:
                source = job.needs.place(job.config())._replace(trainer=added.name)
                os.makedirs(source.below(str(scripts.fork / "output")), exist_ok=True)
            arguments = [dataset, 1, *([n] if "SHOTS" in step.arguments else [])]
            _, called = scripts(f"{added.folder}/{script}.sh", *arguments, SHOTS=n, SOURCE=dataset)
            assert called[called.index("--output-dir") + 1] == place.below("output")
            assert f"configs/trainers/{added.name}/{job.config()}.yaml" in called
            assert (scripts.fork / called[called.index("--config-file") + 1]).is_file()
            if job.needs:
                assert called[called.index("--model-dir") + 1] == source.below("output")


def test_shellcheck(scripts):
    """Of a method with one config for each protocol, with many, and of one that learns nothing."""
    files = [
        path for name in ("sep", "prograd", "zeroshotclip_ours") for path in scripts.fork.glob(f"scripts/{name}/*")
    ]
    assert len(files) == 15
    subprocess.run([REPOSITORY / ".venv/bin/shellcheck", *files], check=True)
