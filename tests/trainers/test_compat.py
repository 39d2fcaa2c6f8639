"""What older PyTorch lacks, with the newer functions taken away; docs/forks.md says what has run on a real one."""

import importlib.util

import pytest
import torch
from torch.nn import functional as F

from trainers import compat, precision
from trainers.errors import UserError
from trainers.prompting import encoders


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


@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"attn_mask": torch.ones(5, 5, dtype=torch.bool).tril()}])
def test_plain_attention(options):
    torch.manual_seed(0)
    ours, theirs = ([torch.randn(2, 3, 5, 8, requires_grad=True) for _ in range(3)] for _ in range(2))
    for a, b in zip(ours, theirs):
        b.data.copy_(a.data)
    results = []
    for function, tensors in ((compat.plain_attention, ours), (F.scaled_dot_product_attention, theirs)):
        results.append(function(*tensors, **options))
        results[-1].square().sum().backward()
    torch.testing.assert_close(*results, atol=1e-6, rtol=1e-6)
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(a.grad, b.grad, atol=1e-5, rtol=1e-5)


def test_a_method_gives_the_same_logits(build, monkeypatch):
    image = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    model = build("sep")
    with torch.no_grad():
        expected = model(image)
        monkeypatch.setattr(encoders, "scaled_dot_product_attention", compat.plain_attention)
        assert not torch.equal(model(image), expected)  # it was used
        torch.testing.assert_close(model(image), expected, atol=1e-4, rtol=1e-4)


def test_recompute():
    calls = []
    x = torch.tensor(3.0, requires_grad=True)
    compat.recompute(lambda y: calls.append(1) or y**2, x).backward()
    assert x.grad == 6 and len(calls) == 2


def test_nothing_is_recomputed_where_gradients_would_be_lost(monkeypatch):
    """The older `checkpoint`, which takes no `use_reentrant`."""
    assert compat.RECOMPUTES
    monkeypatch.setattr("torch.utils.checkpoint.checkpoint", lambda function, *args, **kwargs: None)
    spec = importlib.util.spec_from_file_location("older_compat", compat.__file__)
    spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
    assert not module.RECOMPUTES


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_text_in_16_bits_on_a_cpu_goes_plainly(monkeypatch, dtype):
    """Images and float32 by the fused kernel."""
    monkeypatch.setattr(encoders, "plain_attention", lambda q, k, v, **_: 0 * q)
    x = torch.randn(2, 5, 16).to(dtype)
    both = torch.cat([x, x], dim=-1)
    assert encoders.attend(2, x, both, encoders.CausalMasks()).any() == (dtype == torch.float32)
    assert encoders.attend(2, x, both).any()


def test_amp_on_a_cpu_needs_a_newer_one(monkeypatch):
    monkeypatch.setattr(precision, "AUTOCASTS_ON_CPU", False)
    with pytest.raises(UserError, match=r"PREC amp on a CPU needs PyTorch 1\.10 or newer, .*: use fp32"):
        precision.Precision("amp", "cpu")
    precision.Precision("fp32", "cpu")
