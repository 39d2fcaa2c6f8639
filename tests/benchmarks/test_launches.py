import pytest
import torch

from benchmarks import launches
from benchmarks.subject import GEOMETRIES, Subject
from harness.catalogue import method

# Of a step in bf16 with 100 classes and 4 pictures: no more than these. A change that needs more says why
MOST = {
    "coop": 579,
    "maple": 912,
    "sep": 2415,
    "promptsrc": 1042,
    "cocoop": 628,
    "kgcoop": 590,
    "prograd": 849,
    "tcp": 624,
    "clip_lora": 2022,
    "mma": 1501,
    "mmrl": 981,
    "coprompt": 1170,
    "e2mim": 706,
    "dept": 634,
    "promptkd": 534,
    "tipadapter_f": 165,
}
QUICK = ("coop", "maple", "sep")


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
