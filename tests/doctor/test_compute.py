"""A device's numbers beside the CPU's, and what a step costs there; on the CPU and at toy size."""

import pytest
import torch

from benchmarks.table import Table
from doctor import compute
from doctor.findings import FAULT, NOTE, OK, Finding
from harness.catalogue import METHODS, method

TINY = compute.GEOMETRIES["tiny"]


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(compute, "pictures_a_second", lambda paths: 1e9)
    monkeypatch.setattr(compute, "ROUNDS", 1)


def run(*names):
    found = list(compute.compute([method(name) for name in names], "tiny", ["a"]))
    tables = [one for one in found if isinstance(one, Table)]
    return [one for one in found if isinstance(one, Finding)], *tables


@pytest.mark.parametrize(
    "name",
    [pytest.param(m.folder, marks=[] if m.folder in ("coop", "tipadapter") else pytest.mark.long) for m in METHODS],
)
def test_every_method(quick, name, capsys):
    (finding,), agreement, speed = run(name)
    assert finding.level == OK, finding
    rows = {row[1]: row[2:] for row in agreement.rows}
    steps = compute.Subject(method(name), TINY, "cpu").steps
    assert list(rows) == ["fp32", "amp", "bf16"] and rows["fp32"] == [0, 0, 0 if steps else None]
    assert all(0 < rows[prec][1] < 0.1 for prec in ("amp", "bf16"))
    assert len(speed.rows) == steps and f"| {agreement.rows[0][0]} " in agreement.text()
    for _, prec, batch, few, many, graphs, *memory, share, takes, limit, jobs, hours in speed.rows:
        assert prec in compute.ROUNDING and few > 0 and many > 0 and memory == [None, None]
        assert share is jobs is graphs is None
        assert takes == pytest.approx(1000 * batch / few) and limit == "step"
        assert (hours is None) == (not method(name).has("base2new"))
    assert f"{agreement.rows[0][0]}, 1 of 1" in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.parametrize("fails", [False, True])
def test_a_step_as_graphs(quick, monkeypatch, capsys, fails):
    monkeypatch.setitem(compute.cuda_graphs.BACKENDS, "cpu", "no such" if fails else "aot_eager")
    (finding,), agreement, speed = run("coop")
    assert [row[1] for row in agreement.rows] == ["fp32", "amp", "bf16", compute.GRAPHS]
    ((*_, few, _, graphs, _, _, _, _, _, _, _),) = speed.rows
    if fails:
        assert finding.level == FAULT and finding.remedy.endswith("leave MODEL.CUDA_GRAPHS out") and graphs is None
        assert "CoOp with MODEL.CUDA_GRAPHS: " in capsys.readouterr().err
    else:
        assert finding.level == OK and agreement.rows[-1][2:] == [0, 0, 0] and 0 < graphs < 100 * few


def test_what_there_is_no_time_for(quick, monkeypatch):
    monkeypatch.setitem(compute.MOST_SECONDS, "cpu", 0)
    findings, agreement, _ = run("tipadapter", "coop", "sep")
    assert [found.level for found in findings] == [OK, NOTE] and {row[0] for row in agreement.rows} == {"TipAdapter"}
    assert findings[1].text == "ten minutes do not suffice for coop sep"
    assert findings[1].remedy == "add --methods coop sep"


def test_a_device_that_computes_otherwise(monkeypatch):
    """In one precision its image encoder has other weights."""
    subject, plain = compute.Subject(method("coop"), TINY, "cpu"), compute.vit.model_of

    def spoilt(name, n_cls, prec, *rest):
        model, precision = plain(name, n_cls, prec, *rest)
        if prec == "bf16":
            for parameter in model.image_encoder.parameters():
                parameter.data.mul_(1.5)
        return model, precision

    monkeypatch.setattr(compute.vit, "model_of", spoilt)
    finding = compute.verdict(compute.agreement(subject), "cpu")
    assert finding.level == FAULT and "bf16 (losses" in finding.text and "amp" not in finding.text


@pytest.mark.parametrize("value", [float("nan"), 1.0])
def test_a_verdict(value):
    rows = [["SEP", "fp32", 1e-6, 1e-6, 1e-6], ["SEP", "fp16", 1e-3, value, None]]
    assert compute.verdict(rows[:1], "cuda").level == OK
    finding = compute.verdict(rows, "cuda")
    assert finding.level == FAULT and "fp16 (losses 0.001, logits " in finding.text


def test_too_little_memory_is_said(quick, monkeypatch):
    def refused(subject, n_img, n_cls, graphs=False):
        if n_cls == TINY.many:
            return None
        return compute.Cost(0.1, 0.08, 1000.0)

    monkeypatch.setattr(compute, "step_cost", refused)
    monkeypatch.setattr(compute, "agreement", lambda subject: [["CoOp", "fp32", 0, 0, 0]])
    monkeypatch.setattr(compute, "_jobs", lambda memory: 7)
    (_, note), _, speed = run("coop")
    assert note.text == f"a step of {TINY.many} classes takes more memory than there is" and note.remedy
    (row,) = speed.rows
    assert row[3:] == [100.0, None, None, 1000.0, None, pytest.approx(0.8), 320.0, "kernels", 7, None]
    assert "–" in speed.text()


def test_which_part_is_the_limit(quick, monkeypatch):
    monkeypatch.setattr(compute, "step_cost", lambda *of: compute.Cost(0.1, 0.01, 1000.0))
    monkeypatch.setattr(compute, "test_cost", lambda subject: compute.Cost(0.1, 0.01, 1000.0))
    monkeypatch.setattr(compute, "_jobs", lambda memory: 7)
    subject = compute.Subject(method("coop"), TINY, "cpu")
    fast, slow = compute.speed(subject, 1e9), compute.speed(subject, 100)
    assert fast[10] == "host" and slow[10] == "loaders" and slow[12] > 2 * fast[12]


@pytest.mark.filterwarnings("ignore:CUDA is not available")
def test_kernels_and_loaders(tmp_path, monkeypatch):
    assert compute.in_kernels(lambda: torch.ones(2) + 1) is None  # without a GPU there are none
    plain = compute.config_of
    monkeypatch.setattr(compute, "config_of", lambda words: plain([*words, "DATALOADER.NUM_WORKERS", "0"]))
    assert compute.pictures_a_second(compute.make_pictures([tmp_path], 3, 32)) > 0


def test_loaders_are_timed_when_they_have_started(monkeypatch):
    """Eight processes: two batches each, then four each, of 32 pictures, in the time that these take."""
    clock = iter([10.0, 14.0])
    monkeypatch.setattr(compute, "Datum", lambda *what: what)
    monkeypatch.setattr(compute.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(compute, "build_data_loader", lambda cfg, sampler, items, *rest, **kw: items[::32])
    assert compute.pictures_a_second(["a"]) == 4 * 8 * 32 / 4
