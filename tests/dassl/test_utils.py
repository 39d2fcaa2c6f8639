import io
import json
import os
import random
import sys

import numpy as np
import pytest
import torch

from dassl.utils import (
    AverageMeter,
    MetricMeter,
    Registry,
    check_availability,
    check_isfile,
    listdir_nohidden,
    mkdir_if_missing,
    read_json,
    set_random_seed,
    setup_logger,
    write_json,
)
from tests.conftest import no_larger_files


# ---------------------------------------------------------------- registry
def test_registry_by_decorator_and_by_call():
    registry = Registry("THING")

    @registry.register()
    class Apple:
        pass

    def pear():
        pass

    registry.register(pear)
    assert registry.get("Apple") is Apple and registry.get("pear") is pear
    assert registry.registered_names() == ["Apple", "pear"]


def test_registry_refuses_a_taken_name_unless_forced():
    registry = Registry("THING")
    first, second = type("Apple", (), {}), type("Apple", (), {})
    registry.register(first)
    second.__module__ = "json"
    with pytest.raises(KeyError) as error:
        registry.register(second)
    assert str(error.value) == (
        f'The thing "Apple" is in {__file__} ({__name__}) and in {json.__file__} (json): rename one of them.'
    )
    registry.register(second, force=True)
    assert registry.get("Apple") is second


def test_unknown_name_lists_the_nearest_and_all():
    registry = Registry("TRAINER")
    for name in ("CoOp", "CoCoOp", "SEP", "ZeroshotCLIP"):
        registry.register(type(name, (), {}))
    with pytest.raises(ValueError) as caught:
        registry.get("coop")
    message = str(caught.value)
    assert message.startswith('unknown trainer "coop": did you mean CoOp')
    assert message.endswith("Known: CoCoOp, CoOp, SEP, ZeroshotCLIP")
    assert "\n" not in message


def test_check_availability():
    check_availability("a", ["a", "b"])
    with pytest.raises(ValueError, match='unknown name "xyz"; known: a, b'):
        check_availability("xyz", ["b", "a"])


# ---------------------------------------------------------------- logger
def test_log_is_one_file_over_several_runs(tmp_path, capsys, restore_stdout):
    console = sys.stdout
    setup_logger(str(tmp_path / "run"))
    print("first run")
    sys.stdout.write("cut off")  # a killed process leaves half a line
    sys.stdout.close()
    sys.stdout = console
    setup_logger(str(tmp_path / "run"))
    print("second run")
    sys.stdout.flush()
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["log.txt"]
    assert (tmp_path / "run/log.txt").read_text() == "first run\ncut off\nsecond run\n"
    assert "second run" in capsys.readouterr().out


def test_lines_are_in_the_file_at_once(tmp_path, restore_stdout):
    setup_logger(str(tmp_path / "my.log"))
    print("line")
    assert (tmp_path / "my.log").read_text() == "line\n"  # without flush or close


def test_a_second_logger_replaces_the_first(tmp_path, restore_stdout):
    setup_logger(str(tmp_path / "a"))
    setup_logger(str(tmp_path / "b"))
    print("line")
    assert (tmp_path / "a/log.txt").read_text() == ""
    assert (tmp_path / "b/log.txt").read_text() == "line\n"
    assert isinstance(sys.stdout.isatty(), bool)


@pytest.mark.parametrize(("encoding", "shown"), [("utf-8", "é caf\\udce9"), ("ascii", "\\xe9 caf\\udce9")])
def test_a_name_that_is_not_text_can_be_printed(encoding, shown, tmp_path, monkeypatch, restore_stdout):
    console = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(sys, "stdout", console)
    setup_logger(str(tmp_path))
    print("é " + os.fsdecode(b"caf\xe9"))
    sys.stdout.flush()
    assert console.buffer.getvalue().decode(encoding) == f"{shown}\n"
    assert (tmp_path / "log.txt").read_text(encoding="utf-8") == "é caf\\udce9\n"


def test_a_log_on_a_full_disk(tmp_path, restore_stdout, capsys):
    setup_logger(str(tmp_path))
    with no_larger_files(100):
        with pytest.raises(ValueError, match=rf"^{tmp_path}/log\.txt cannot be written \(File too large\): make room"):
            for _ in range(200):
                print("line")
        print("later")
    assert capsys.readouterr().out.endswith("line\nlater\n") and (tmp_path / "log.txt").stat().st_size == 100


# ---------------------------------------------------------------- meters
def test_average_meter():
    meter = AverageMeter()
    meter.update(2.0)
    meter.update(torch.tensor(5.0), n=2)
    assert (meter.val, meter.avg) == (5.0, 4.0)
    moving = AverageMeter(ema=True)
    moving.update(1.0)
    moving.update(2.0)
    assert moving.avg == pytest.approx(0.9 * 0.1 + 0.2)


def test_metric_meter_prints_latest_and_average():
    meter = MetricMeter()
    meter.update({"loss": 1.0, "acc": torch.tensor(50.0)})
    meter.update({"loss": 2.0})
    meter.update(None)
    assert str(meter) == "loss 2.0000 (1.5000) acc 50.0000 (50.0000)"
    with pytest.raises(TypeError):
        meter.update([1.0])


# ---------------------------------------------------------------- files, seeds
def test_json_round_trip(tmp_path):
    path = str(tmp_path / "new/folder/file.json")
    write_json({"name": "Zürich", "n": [1, 2]}, path)
    assert read_json(path) == {"name": "Zürich", "n": [1, 2]} == json.load(open(path, encoding="utf-8"))


def test_folders(tmp_path):
    mkdir_if_missing(str(tmp_path / "a/b"))
    mkdir_if_missing(str(tmp_path / "a/b"))
    mkdir_if_missing("")
    for name in ("z", "y", ".hidden"):
        (tmp_path / name).write_text("")
    assert listdir_nohidden(str(tmp_path), sort=True) == ["a", "y", "z"]
    assert check_isfile(str(tmp_path / "z"))
    with pytest.warns(UserWarning, match="No file found"):
        assert not check_isfile(str(tmp_path / "a"))


def test_set_random_seed_seeds_all():
    draws = []
    for _ in range(2):
        set_random_seed(7)
        draws.append((random.random(), np.random.rand(), torch.rand(1).item()))
    assert draws[0] == draws[1]
