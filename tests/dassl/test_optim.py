import io
import json
import math

import pytest
import torch
from torch import nn

from dassl.config import get_cfg_default
from dassl.optim import build_lr_scheduler, build_optimizer
from tests.conftest import GOLDEN

SEQUENCES = json.loads((GOLDEN / "learning_rates.json").read_text())


def optim_cfg(**keys):
    node = get_cfg_default().OPTIM
    node.NAME = "sgd"
    for key, value in keys.items():
        node[key] = value
    return node


def build(node):
    optimizer = build_optimizer([nn.Parameter(torch.zeros(1))], node)
    return optimizer, build_lr_scheduler(optimizer, node)


def run(optimizer, scheduler, epochs):
    """The learning rate of each of the next `epochs` epochs."""
    rates = []
    for _ in range(epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


# ---------------------------------------------------------------- schedules
@pytest.mark.parametrize("name", SEQUENCES)
def test_learning_rates_are_dassls(name):
    node = optim_cfg(**SEQUENCES[name]["cfg"])
    assert run(*build(node), len(SEQUENCES[name]["lr"])) == pytest.approx(SEQUENCES[name]["lr"], rel=1e-12)


@pytest.mark.parametrize("name", SEQUENCES)
@pytest.mark.parametrize("done", [1, 3, 6])
def test_a_saved_schedule_goes_on_bit_for_bit(name, done):
    node = optim_cfg(**SEQUENCES[name]["cfg"])
    epochs = len(SEQUENCES[name]["lr"])
    straight = run(*build(node), epochs)
    optimizer, scheduler = build(node)
    run(optimizer, scheduler, done)
    file = io.BytesIO()
    torch.save([optimizer.state_dict(), scheduler.state_dict()], file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)  # fails if the state holds an object

    optimizer, scheduler = build(node)
    optimizer.load_state_dict(saved[0])
    scheduler.load_state_dict(saved[1])
    assert run(optimizer, scheduler, epochs - done) == straight[done:]


def test_warm_up_covers_every_parameter_group():
    node = optim_cfg(LR_SCHEDULER="cosine", MAX_EPOCH=4, WARMUP_EPOCH=2, WARMUP_TYPE="linear")
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (0.1, 0.2)]
    optimizer = build_optimizer(groups, node)
    scheduler = build_lr_scheduler(optimizer, node)
    seen = []
    for _ in range(4):
        seen.append([group["lr"] for group in optimizer.param_groups])
        assert scheduler.get_last_lr() == seen[-1]
        optimizer.step()
        scheduler.step()
    half_way = (1 + math.cos(math.pi / 4)) / 2
    expected = [[1e-5, 1e-5], [0.05, 0.1], [0.1, 0.2], [0.1 * half_way, 0.2 * half_way]]
    assert [pytest.approx(rates) for rates in expected] == seen


def test_single_step_of_minus_one_never_steps():
    node = optim_cfg(LR=0.1, LR_SCHEDULER="single_step", STEPSIZE=(-1,), MAX_EPOCH=5)
    assert run(*build(node), 5) == [0.1] * 5


@pytest.mark.parametrize(
    "keys, message",
    [
        ({"LR_SCHEDULER": "cosin"}, "did you mean cosine"),
        ({"WARMUP_EPOCH": 1, "WARMUP_TYPE": "lineal"}, "did you mean linear"),
        ({"LR_SCHEDULER": "multi_step", "STEPSIZE": 3}, "STEPSIZE must be a list"),
        ({"LR_SCHEDULER": "single_step", "STEPSIZE": (0.5,)}, "STEPSIZE must hold integers"),
    ],
)
def test_bad_schedule_is_named(keys, message):
    with pytest.raises(ValueError, match=message):
        build(optim_cfg(**keys))


# ---------------------------------------------------------------- optimisers
@pytest.mark.parametrize(
    "name, cls",
    [
        ("adam", torch.optim.Adam),
        ("amsgrad", torch.optim.Adam),
        ("sgd", torch.optim.SGD),
        ("rmsprop", torch.optim.RMSprop),
        ("radam", torch.optim.RAdam),
        ("adamw", torch.optim.AdamW),
    ],
)
def test_config_reaches_the_optimizer(name, cls):
    node = optim_cfg(
        NAME=name, LR=0.02, WEIGHT_DECAY=0.3, MOMENTUM=0.8, SGD_DAMPNING=0.1, RMSPROP_ALPHA=0.7,
        ADAM_BETA1=0.6, ADAM_BETA2=0.5,
    )  # fmt: skip
    group = build_optimizer(nn.Linear(2, 1), node).param_groups[0]
    assert isinstance(build_optimizer(nn.Linear(2, 1), node), cls)
    assert (group["lr"], group["weight_decay"], len(group["params"])) == (0.02, 0.3, 2)
    if name in ("sgd", "rmsprop"):
        assert group["momentum"] == 0.8
        assert group.get("dampening", 0.1) == 0.1 and group.get("alpha", 0.7) == 0.7
    else:
        assert group["betas"] == (0.6, 0.5)
        assert bool(group.get("amsgrad")) == (name == "amsgrad")


@pytest.mark.parametrize("name", ["adam", "amsgrad", "rmsprop", "radam", "adamw"])
def test_epsilon_is_optional(name):
    node = optim_cfg(NAME=name)
    node.pop("EPS", None)  # a trainer of this process may have added it
    assert build_optimizer(nn.Linear(2, 1), node).param_groups[0]["eps"] == 1e-8
    node.EPS = 1e-3
    assert build_optimizer(nn.Linear(2, 1), node).param_groups[0]["eps"] == 1e-3


def test_radam_decays_weights_apart_from_the_gradient():
    weight = nn.Parameter(torch.tensor([2.0]))
    optimizer = build_optimizer([weight], optim_cfg(NAME="radam", LR=0.1, WEIGHT_DECAY=0.5))
    weight.grad = torch.tensor([3.0])
    optimizer.step()
    # first step of RAdam without rectification: lr * gradient, on the weight shrunk by 1 - lr * decay
    assert weight.item() == pytest.approx(2.0 * (1 - 0.1 * 0.5) - 0.1 * 3.0)


def test_staged_learning_rates():
    model = nn.Sequential()
    model.add_module("body", nn.Linear(2, 2))
    model.add_module("head", nn.Linear(2, 1))
    node = optim_cfg(LR=1.0, STAGED_LR=True, NEW_LAYERS=("head",), BASE_LR_MULT=0.25)
    groups = build_optimizer(model, node).param_groups
    assert [group["lr"] for group in groups] == [0.25, 1.0]
    assert groups[1]["params"] == list(model.head.parameters())
    with pytest.raises(TypeError, match="STAGED_LR"):
        build_optimizer(list(model.parameters()), node)
    assert len(build_optimizer(model, node, param_groups=model.parameters()).param_groups) == 1
    node.NEW_LAYERS = ("head", "hat")
    with pytest.raises(ValueError, match='OPTIM.NEW_LAYERS names "hat", .* choose from body, head'):
        build_optimizer(model, node)
    node.NEW_LAYERS = ()
    with pytest.warns(UserWarning, match="NEW_LAYERS is empty"):
        build_optimizer(model, node)
