"""PyTorch's compiler records a step on a CPU as it does for a GPU; only that nothing launches it at once here.

As on a GPU, a step takes the memory of what the last one gave: here that becomes NaN.
"""

import math

import pytest
import torch
from functorch.compile import make_boxed_func
from torch._dynamo.backends.common import aot_autograd
from torch._dynamo.utils import counters

from tests.trainers.methods import LEARNING, METHODS, often
from trainers.between_graphs import BetweenGraphs
from trainers.errors import UserError
from trainers.run import cuda_graphs

# DePT's features go into two graphs, whose gradients are added in another order. With SEP, a bias of keys, which has no
# gradient but rounding, is moved by it in Adam
ROUNDING = {"dept": 1e-7, "dept-sep": 1e-3}
# Graphs of a step from stored views, where there are more than three: one more is a place that PyTorch cannot follow
MOST = {"coprompt": 4, "e2mim": 4, "e2mim-image-dv": 4, "skip_tuning": 6, "dept": 10, "dept-sep": 12}


@pytest.fixture
def recorded(monkeypatch):
    """Steps are recorded on the CPU; its value has what is counted of that."""
    given = []

    def compiled(graph, _):
        def run(*args):
            results = graph(*args)
            taken = {x.untyped_storage().data_ptr() for x in args if isinstance(x, torch.Tensor)}
            tensors = [x.detach() for x in results if isinstance(x, torch.Tensor) and x.is_floating_point()]
            given.extend(x for x in tensors if x.untyped_storage().data_ptr() not in taken)
            return results

        return make_boxed_func(run)

    def next_step():
        for tensor in given:
            tensor.fill_(math.nan)
        given.clear()

    backend = aot_autograd(fw_compiler=compiled, bw_compiler=compiled)
    monkeypatch.setitem(cuda_graphs.BACKENDS, "cpu", backend)
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", next_step)
    for each in BetweenGraphs.functions:
        monkeypatch.setattr(each, "function", each.plain)
    torch._dynamo.reset()
    counters.clear()
    yield counters["stats"]
    torch._dynamo.reset()


def trained(make_trainer, method, output, *options):
    trainer = make_trainer(method.trainer, *method.options, "TEST.NO_TEST", True, *options, output=output)
    trainer.counted = []  # after each epoch, what has been recorded
    after_epoch = trainer.after_epoch

    def counting():
        trainer.counted.append(counters["stats"]["unique_graphs"])
        after_epoch()

    trainer.after_epoch = counting
    trainer.train()
    return trainer


@pytest.mark.parametrize("key", often(LEARNING, quick=()))
def test_a_training_gives_the_same_bits(key, make_trainer, recorded, tmp_path):
    method = METHODS[key]
    views = ("DATALOADER.STORED_VIEWS", 2)
    plain = trained(make_trainer, method, tmp_path / "plain", *views)
    assert not recorded
    graphs = trained(make_trainer, method, tmp_path / "graphs", *views, "MODEL.CUDA_GRAPHS", True)
    first, second, _ = graphs.counted  # the third has 2SFS's other stage
    assert 0 < first == second <= MOST.get(key, 3)
    assert graphs.settings == plain.settings
    for name, weight in plain.trained.state_dict().items():
        torch.testing.assert_close(graphs.trained.state_dict()[name], weight, rtol=0, atol=ROUNDING.get(key, 0))


def test_without_a_gpu_it_says_so(build, capsys):
    model = build("coop")
    capsys.readouterr()
    assert cuda_graphs.as_graphs(model, torch.device("cpu")) is model
    assert capsys.readouterr().out == "MODEL.CUDA_GRAPHS needs a GPU: running without\n"


def test_older_pytorch(build, monkeypatch):
    model = build("coop")
    monkeypatch.setattr(torch, "compiler", None)
    monkeypatch.setattr(torch, "__version__", "1.9.0")
    with pytest.raises(UserError, match="^MODEL.CUDA_GRAPHS needs PyTorch 2.2 or newer, and this is 1.9.0: leave it"):
        cuda_graphs.as_graphs(model, torch.device("cuda"))
