import pytest
import torch

from benchmarks import launches
from benchmarks.subject import GEOMETRIES, Subject
from harness.catalogue import METHODS, method

# Of a step in bf16 with 100 classes and 4 pictures: no more than these. A change that needs more says why
MOST = {
    "coop": 589,
    "maple": 922,
    "sep": 2431,
    "promptsrc": 1056,
    "cocoop": 638,
    "kgcoop": 600,
    "prograd": 859,
    "tcp": 636,
    "clip_lora": 2032,
    "two_sfs": 951,
    "mma": 1511,
    "mma_pp": 1840,
    "mmrl": 997,
    "mmrl_pp": 1196,
    "coprompt": 1184,
    "hicropl": 1641,
    "skip_tuning": 1008,
    "e2mim": 716,
    "dept": 644,
    "promptkd": 542,
    "tipadapter_f": 169,
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
