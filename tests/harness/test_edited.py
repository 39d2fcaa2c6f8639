"""What may lie in the place of a file that people edit, for each of its readers: one sentence that names it."""

import json
import os
import shutil

import pytest

from harness.records import read_record
from harness.report.runs import find_runs
from harness.running import launch, sweep_file
from tests.conftest import REPOSITORY
from tests.harness.runs import finish, run_dir
from trainers.errors import UserError
from trainers.run.folder import RunFolder

EARLIER = REPOSITORY / "tests/earlier_runs/base2new/test_new/caltech101/shots_4/CoOp/shapes/seed1"


def sparse(path):
    with open(path, "wb") as file:
        file.truncate(3 * 2**30)


PLACES = {
    "a named pipe": os.mkfifo,
    "a folder": os.mkdir,
    "3 GB of nothing": sparse,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to itself": lambda path: path.symlink_to(path),
    "brackets": lambda path: path.write_text("[" * 200_000),
    "sections": lambda path: path.write_text('{"settings": ' * 200_000),
    "nothing": lambda path: path.write_text(""),
    "no text": lambda path: path.write_bytes(b'{"accuracy": \xff}'),
    "a key twice": lambda path: path.write_text('{"SEED": 1, "SEED": 2}'),
    "a bomb": lambda path: path.write_text("a: &a [1, 1]\nb: &b [*a, *a]\nc: [*b, *b]\n"),
    "a tag": lambda path: path.write_text("a: !!python/object/apply:os.system [echo]\n"),
}


@pytest.fixture
def tested(tmp_path):
    """A run's folder of an earlier version."""
    folder = tmp_path / "run"
    shutil.copytree(EARLIER, folder)
    return folder


@pytest.mark.parametrize("name", PLACES)
def test_a_record(tmp_path, tested, name):
    finish(tmp_path / "output", "base", 2, 50.0)
    path = run_dir(tmp_path / "output", "base", 1) / "metrics.json"
    path.parent.mkdir(parents=True)
    PLACES[name](path)
    with pytest.raises(ValueError) as error:
        read_record(path.parent)
    assert str(path) in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 400
    runs, (warning,) = find_runs(tmp_path / "output")
    assert sorted((run.seed, run.accuracy) for run in runs) == [(1, None), (2, 50.0)] and str(path) in warning

    (tested / "metrics.json").unlink()
    PLACES[name](tested / "metrics.json")
    with pytest.raises(ValueError, match=f'{tested}/metrics.json" cannot be read'):
        RunFolder(str(tested))


@pytest.mark.parametrize("name", [name for name in PLACES if name != "nothing"])
def test_a_config(tmp_path, tested, name):
    path = tmp_path / "sweep.yaml"
    PLACES[name](path)
    with pytest.raises((ValueError, launch.Refused)) as error:
        sweep_file.read(str(path))
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    (tested / "config.yaml").unlink(missing_ok=True)
    PLACES[name](tested / "config.yaml")
    with pytest.raises(ValueError, match=f'"{tested}/config.yaml" is no config of a run') as error:
        RunFolder(str(tested))
    assert "\n" not in str(error.value) and len(str(error.value)) < 600


ODD = (None, True, "80", -1, 2**70, 0.5, [], [[1]], ["x", 3], {}, {"a": None}, {"code": 3})


@pytest.mark.parametrize("key", [*json.loads((EARLIER / "metrics.json").read_text()), "imported", "split_file"])
def test_a_key_of_a_record_of_another_type(tmp_path, tested, key):
    """It says so, or takes it; nothing else happens, to the other runs neither."""
    before = json.loads((tested / "metrics.json").read_text())
    (tested / "config.yaml").write_text("TRAINER: {NAME: CoOp}")  # which is read quickly
    finish(tmp_path, "base", 2, 50.0)
    path = tmp_path / "base2new/test_new/caltech101/shots_4/CoOp/shapes/seed1/metrics.json"
    path.parent.mkdir(parents=True)
    for value in ODD:
        for file in (path, tested / "metrics.json"):
            file.write_text(json.dumps({**before, key: value}))
        runs, warnings = find_runs(tmp_path)
        assert {run.accuracy for run in runs} <= {None, 50.0, before["accuracy"]} and len(runs) >= 2
        assert all("\n" not in warning and "metrics.json" in warning for warning in warnings)
        launch.records.recorded_settings(launch.records.record_of(path.parent))
        try:
            RunFolder(str(tested))
        except UserError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_text_that_is_none_is_named_by_its_line(tmp_path, ending):
    path = tmp_path / "metrics.json"
    path.write_bytes(f'{{"accuracy": 50.0,{ending}"trainer": "'.encode() + b'caf\xe9"}')
    with pytest.raises(ValueError, match="metrics.json cannot .*line 2 is no UTF-8 .byte 0xe9"):
        read_record(tmp_path)
    path = tmp_path / "mine.yaml"
    path.write_bytes(f"seeds: [1]{ending}source: ".encode() + b"caf\xe9")
    with pytest.raises(ValueError, match="mine.yaml is not valid YAML: line 2 is no UTF-8 .byte 0xe9"):
        sweep_file.read(str(path))
