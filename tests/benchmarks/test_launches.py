import pytest
import torch

from benchmarks import launches
from benchmarks.subject import GEOMETRIES, Subject
from harness.catalogue import METHODS, method

# Of a step in bf16 with 100 classes and 4 pictures: no more than these. A change that needs more says why
MOST = {
    "coop": 581,
    "maple": 914,
    "sep": 2419,
    "promptsrc": 1044,
    "cocoop": 630,
    "kgcoop": 592,
    "prograd": 851,
    "tcp": 628,
    "clip_lora": 2024,
    "two_sfs": 947,
    "mma": 1503,
    "mma_pp": 1824,
    "mmrl": 985,
    "mmrl_pp": 1184,
    "coprompt": 1172,
    "hicropl": 1629,
    "skip_tuning": 996,
    "e2mim": 708,
    "dept": 636,
    "promptkd": 534,
    "tipadapter_f": 165,
}
QUICK = ("coop", "maple", "sep")


def test_every_method_that_takes_steps_is_held():
    assert set(MOST) == {m.folder for m in METHODS if Subject(m, GEOMETRIES["tiny"], "cpu").steps}


def test_launches():
    x = torch.ones(3, 4, requires_grad=True)
    with launches.Launches() as counted:
        y = (x.t()[:2].unflatten(0, (2, 1)) * torch.empty(3)).sum()
        assert counted.n == 2
        y.sigmoid().backward(torch.ones(()))
    assert counted.n > 2 + 4  # sigmoid and its gradient, the product's, and zeros around what was cut off


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.long) for name in MOST])
def test_a_step_launches_no_more(name):
    n = launches.of_step(Subject(method(name), GEOMETRIES["tiny"], "cpu"))
    assert 0.95 * MOST[name] < n <= MOST[name]
