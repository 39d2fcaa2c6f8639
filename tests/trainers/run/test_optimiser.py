"""Learning rates of their own for layers that are named (OPTIM.STAGED_LR), and OPTIM.EPS on any Dassl."""

import copy

import pytest
import torch
from torch import nn

from dassl.config import get_cfg_default
from trainers.run import optimiser


def rates(trainer):
    """Name -> learning rate of every parameter that is trained."""
    names = {id(p): name.partition(".")[2] for name, p in trainer.trained.named_parameters()}
    return {names[id(p)]: group["lr"] for group in trainer.optim.param_groups for p in group["params"]}


def test_staged_rates_reach_the_layers_that_are_named(make_trainer):
    options = ("OPTIM.STAGED_LR", True, "OPTIM.LR", 0.01, "OPTIM.WARMUP_EPOCH", -1)
    found = rates(make_trainer("CoCoOp", *options, "OPTIM.NEW_LAYERS", ["meta_net"]))
    assert found.pop("ctx") == pytest.approx(0.001)
    assert len(found) == 4 and set(found.values()) == {0.01}
    found = rates(make_trainer("SEP", *options, "OPTIM.NEW_LAYERS", ["ctx", "image_enhancer.1.mlp_in"]))
    assert {name for name, rate in found.items() if rate == 0.01} == {"ctx", "image_enhancer.1.mlp_in.weight"}
    found = rates(make_trainer("CoOp", *options, "OPTIM.NEW_LAYERS", ["ctx"]))
    assert found == {"ctx": 0.01}
    assert set(rates(make_trainer("SEP", "OPTIM.LR", 0.01, "OPTIM.WARMUP_EPOCH", -1)).values()) == {0.01}


def test_staged_rates_on_a_dassl_that_takes_no_groups(make_trainer, monkeypatch):
    """That of KgCoOp's and ProGrad's forks."""
    newer = optimiser.build_optimizer
    monkeypatch.setattr(optimiser, "build_optimizer", lambda model, optim_cfg: newer(model, optim_cfg))
    options = ("OPTIM.STAGED_LR", True, "OPTIM.LR", 0.01, "OPTIM.WARMUP_EPOCH", -1)
    assert rates(make_trainer("CoCoOp", *options, "OPTIM.NEW_LAYERS", ["meta_net"]))["ctx"] == pytest.approx(0.001)


def test_epsilon_on_a_dassl_that_does_not_read_it(make_trainer, monkeypatch):
    """The original."""
    ours = optimiser.build_optimizer

    def original(model, optim_cfg):
        optim = ours(model, optim_cfg)
        for group in optim.param_groups:
            group["eps"] = 1e-8
        return optim

    monkeypatch.setattr(optimiser, "build_optimizer", original)
    optim = make_trainer("CoOp", "OPTIM.NAME", "adam", "OPTIM.EPS", 1e-3).optim
    assert [group["eps"] for group in optim.param_groups] == [1e-3]


@pytest.mark.parametrize("layers", [[], ["ct"], ["ctx", "meta"], ["prompt_learner"], [""]])
def test_a_layer_that_is_not_there_is_an_error(make_trainer, layers):
    with pytest.raises(ValueError, match="OPTIM.NEW_LAYERS names .* choose from ctx, meta_net"):
        make_trainer("CoCoOp", "OPTIM.STAGED_LR", True, "OPTIM.NEW_LAYERS", layers)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_one_kernel_for_all_tensors(make_trainer, name):
    """As on a GPU; on a CPU nothing changes. Its steps are steps, also behind a resume, and none with an overflow."""
    plain, fused = (make_trainer("CoCoOp", "OPTIM.NAME", name).optim for _ in range(2))
    optimiser.fuse(fused)
    assert not any(group["fused"] for group in fused.param_groups)
    optimiser.fuse(fused, "cpu")
    weights = [[p for group in optim.param_groups for p in group["params"]] for optim in (plain, fused)]
    for step in range(4):
        torch.manual_seed(step)
        for pair in zip(*weights):
            gradient = torch.randn_like(pair[0])
            for p in pair:
                p.grad = gradient.clone()
        plain.step()
        fused.step()
        if step == 1:
            state = copy.deepcopy(plain.state_dict()["state"])
            fused.load_state_dict({"state": state, "param_groups": fused.state_dict()["param_groups"]})
        torch.testing.assert_close(*weights)
    scaler, before = torch.amp.GradScaler("cpu"), [p.clone() for p in weights[1]]
    scaler.scale(torch.zeros(()))
    weights[1][0].grad[0] = float("inf")
    scaler.step(fused)
    assert all(torch.equal(*pair) for pair in zip(before, weights[1]))


# Epochs that have steps of their own number: 2, 3, 2 and 3
STEPS = [0, 2, 5, 7, 10]


def schedule_of(moves, n, **options):
    """The learning rates of `n` moves, of a rate of 1."""
    cfg = get_cfg_default().OPTIM
    cfg.NAME, cfg.LR, cfg.MAX_EPOCH = "sgd", 1.0, 4
    for key, value in options.items():
        cfg[key] = value
    optim, schedule = optimiser.optimiser_of(nn.ModuleDict({"x": nn.Linear(1, 1)}), cfg, moves)
    rates = []
    for _ in range(n):
        rates.append(optim.param_groups[0]["lr"])
        optim.step()
        schedule.step()
    return rates


def test_what_is_said_in_epochs_is_counted_in_moves():
    steps = {"LR_SCHEDULER": "multi_step", "STEPSIZE": (1, 3)}
    assert schedule_of(range(5), 4, **steps) == pytest.approx([1, 0.1, 0.1, 0.01])
    assert schedule_of(STEPS, 10, **steps) == pytest.approx([1] * 2 + [0.1] * 5 + [0.01] * 3)
    assert schedule_of(STEPS, 10, LR_SCHEDULER="single_step", STEPSIZE=(-1,)) == [1] * 10
    warm = {"LR_SCHEDULER": "single_step", "WARMUP_EPOCH": 2, "WARMUP_TYPE": "linear", "WARMUP_MIN_LR": 0.1}
    assert schedule_of(STEPS, 6, **warm) == pytest.approx([0.1, 0.2, 0.4, 0.6, 0.8, 1])
    assert schedule_of(STEPS, 6, **{**warm, "WARMUP_EPOCH": 8})[:3] == pytest.approx([0.1, 0.05, 0.1])  # of 20


def test_a_cosine_ends_where_it_is_told_to():
    cosine = torch.cos(torch.arange(10, dtype=torch.float64) / 10 * torch.pi)
    for warm in (-1, 1):
        rates = schedule_of(STEPS, 12, LR_SCHEDULER="cosine", MIN_LR=0.2, WARMUP_EPOCH=warm, WARMUP_TYPE="constant")
        first = 2 if warm == 1 else 0
        assert rates[first:][:10] == pytest.approx((0.2 + 0.8 * (1 + cosine) / 2).tolist())
