"""What older PyTorch lacks, with the newer functions taken away; docs/forks.md says what has run on a real one."""

import importlib.util

import pytest
import torch
from torch.nn import functional as F

from trainers.prompting import compat, encoders, precision
from trainers.prompting.errors import UserError


@pytest.fixture
def older(monkeypatch):
    """compat.py as PyTorch 1.9 would load it."""
    monkeypatch.delattr(F, "scaled_dot_product_attention")
    monkeypatch.delattr(torch, "autocast")
    monkeypatch.delattr(torch, "amp")
    spec = importlib.util.spec_from_file_location("older_compat", compat.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_is_there_is_taken():
    assert compat.scaled_dot_product_attention is F.scaled_dot_product_attention
    assert compat.autocast is torch.autocast and compat.AUTOCASTS_ON_CPU
    assert compat.GradScaler is torch.amp.GradScaler


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of the older name
def test_what_is_missing_is_made_up_for(older):
    assert older.scaled_dot_product_attention is older.plain_attention
    assert older.GradScaler is torch.cuda.amp.GradScaler
    assert not older.AUTOCASTS_ON_CPU
    with older.autocast("cpu", enabled=False):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


@pytest.mark.parametrize("is_causal", [False, True])
def test_plain_attention(is_causal):
    torch.manual_seed(0)
    ours, theirs = ([torch.randn(2, 3, 5, 8, requires_grad=True) for _ in range(3)] for _ in range(2))
    for a, b in zip(ours, theirs):
        b.data.copy_(a.data)
    for function, tensors in ((compat.plain_attention, ours), (F.scaled_dot_product_attention, theirs)):
        function(*tensors, is_causal=is_causal).square().sum().backward()
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(a.grad, b.grad, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        compat.plain_attention(*ours, is_causal=is_causal),
        F.scaled_dot_product_attention(*theirs, is_causal=is_causal),
        atol=1e-6,
        rtol=1e-6,
    )


def test_a_method_gives_the_same_logits(build, monkeypatch):
    image = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    model = build("sep")
    with torch.no_grad():
        expected = model(image)
        monkeypatch.setattr(encoders, "scaled_dot_product_attention", compat.plain_attention)
        assert not torch.equal(model(image), expected)  # it was used
        torch.testing.assert_close(model(image), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("newer", [True, False])
def test_recompute(newer, monkeypatch):
    def checkpoint(function, *args, **kwargs):  # as PyTorch 1.10 has it, which refuses other arguments
        assert kwargs == {"preserve_rng_state": False}
        return function(*args)

    if not newer:
        monkeypatch.setattr(compat, "checkpoint", checkpoint)
    calls = []
    x = torch.tensor(3.0, requires_grad=True)
    compat.recompute(lambda y: calls.append(1) or y**2, x).backward()
    assert x.grad == 6 and len(calls) == 1 + newer


def test_amp_on_a_cpu_needs_a_newer_one(monkeypatch):
    monkeypatch.setattr(precision, "AUTOCASTS_ON_CPU", False)
    with pytest.raises(UserError, match=r"PREC amp on a CPU needs PyTorch 1\.10 or newer, .*: use fp32"):
        precision.Precision("amp", "cpu")
    precision.Precision("fp32", "cpu")
