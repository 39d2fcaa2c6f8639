import os

import pytest

from datasets.listing import CACHE
from harness.command_line import parse_args
from tools import bench


def rows(out):
    """The cells of the printed table, below its header."""
    lines = [line for line in out.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.fixture
def one_process(monkeypatch):
    """Everything in this process, which has PyTorch loaded already."""
    monkeypatch.setattr(bench, "in_fresh_process", lambda function, *args: function(*args))


def test_a_fresh_process_is_another_one():
    assert bench.in_fresh_process(os.getpid) != os.getpid()


def test_ways_run_in_turns():
    calls = []
    seconds = bench.interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3, "cpu")
    assert "".join(calls) == "ab" * 5  # two rounds to warm up
    assert set(seconds) == {"a", "b"}


def test_ratios_are_to_the_first():
    assert bench.ratios({"a": 0.5, "b": 0.25}) == [["a", "500.0", "1.000"], ["b", "250.0", "0.500"]]


# ---- step --------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny_configs(monkeypatch, make_cfg):
    """The command's trainers and pairs on TinyData."""

    def config_of(arguments):
        args = parse_args(arguments)
        return make_cfg(args.trainer, *args.opts)

    monkeypatch.setattr(bench, "config_of", config_of)


def test_step_lists_trainers_that_learn(tiny_configs, one_process, capsys):
    bench.main("step --batch-size 4 --rounds 1 --trainers CoOp ZeroshotCLIP E2MIM".split())
    out = capsys.readouterr().out
    assert out.startswith("Optimisation step on 3 classes, batch 4 for all")  # the base half of six
    (first, second) = rows(out)
    assert (first[0], first[2], second[0]) == ("CoOp", "1.000", "E2MIM")
    for _, ms, ratio, per_image, memory in (first, second):
        assert float(ms) > 0 and float(memory) > 0
        assert float(per_image) == pytest.approx(float(ms) / 4, abs=0.03)
        assert float(ratio) == pytest.approx(float(ms) / float(first[1]), rel=0.1)


def test_every_trainer_is_listed_in_the_papers_order(monkeypatch, one_process):
    asked = []
    monkeypatch.setattr(bench, "memory_of_steps", lambda name, *_: asked.append(name))  # None: learns nothing
    with pytest.raises(SystemExit, match="learns"):
        bench.main(["step"])
    assert set(asked) == set(bench.TRAINER_REGISTRY.registered_names())
    assert [name for name in asked if name in ("SEP", "CoOp", "E2MIM", "MaPLe")] == ["CoOp", "MaPLe", "SEP", "E2MIM"]


def test_a_timed_step_is_not_an_epochs_last(tiny_configs, tmp_path):
    trainer = bench.build("CoOp", "", 4, str(tmp_path))
    before = trainer.get_current_lr()
    trainer.forward_backward(next(iter(trainer.train_loader_x)))
    assert trainer.get_current_lr() == before and trainer.model.training


# ---- data --------------------------------------------------------------------------------------------------


def test_stub_is_read_as_imagenet_and_its_cache_is_trusted(tmp_path, monkeypatch):
    bench.make_stub(tmp_path, 3, {"train": 100, "val": 7})
    assert len(list(tmp_path.glob("imagenet/images/train/*/*.JPEG"))) == 100
    assert len(list(tmp_path.glob("imagenet/images/val/*/*.JPEG"))) == 7
    seconds, memory, n_train, n_test = bench.build_imagenet(str(tmp_path))
    assert seconds > 0 and memory > 0 and (n_train, n_test) == (48, 7)
    assert (tmp_path / "imagenet" / CACHE).exists()
    read, listdir = [], os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: read.append(path) or listdir(path))
    assert bench.build_imagenet(str(tmp_path))[2:] == (48, 7)
    assert not any("images" in str(path) for path in read)


@pytest.mark.parametrize("limit, verdict", [(1e9, "yes"), (0.0, "NO")])
def test_data_compares_with_its_limits_and_cleans_up(one_process, monkeypatch, capsys, tmp_path, limit, verdict):
    monkeypatch.setattr(bench, "N_CLASSES", 3)
    monkeypatch.setattr(bench, "IMAGES", {"train": 1_000, "val": 6})
    monkeypatch.setattr(bench, "LIMITS", {"first": limit, "cached": limit})
    monkeypatch.setattr(bench, "MEMORY_LIMIT", 1_000_000)
    monkeypatch.setattr(bench.tempfile, "tempdir", str(tmp_path))
    bench.main(["data"])
    out = capsys.readouterr().out
    assert out.startswith("ImageNet's list of files, 1,006 in 3 classes")
    assert [(row[0], row[-1]) for row in rows(out)] == [("first", verdict), ("cached", verdict)]
    assert list(tmp_path.iterdir()) == []


def test_too_much_memory_is_seen(one_process, monkeypatch, capsys):
    monkeypatch.setattr(bench, "N_CLASSES", 3)
    monkeypatch.setattr(bench, "IMAGES", {"train": 30, "val": 6})
    monkeypatch.setattr(bench, "MEMORY_LIMIT", 1)
    bench.main(["data"])
    assert [row[-1] for row in rows(capsys.readouterr().out)] == ["NO", "NO"]
