import torch
from torch import nn

from trainers.prompting.meta_net import MetaNet


def test_equation():
    torch.manual_seed(0)
    net, x = MetaNet(6, 3, 5), torch.randn(2, 4, 6)
    hidden = (x @ net.linear1.weight.t() + net.linear1.bias).clamp(min=0)
    torch.testing.assert_close(net(x), hidden @ net.linear2.weight.t() + net.linear2.bias)
    assert (hidden == 0).any() and (hidden > 0).any()


def test_activation_has_no_weights_of_its_own():
    """Checkpoints of the methods' authors name two layers."""
    net = MetaNet(6, 3, 5, activation=nn.Tanh())
    shapes = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    assert shapes == {"linear1.weight": (3, 6), "linear1.bias": (3,), "linear2.weight": (5, 3), "linear2.bias": (5,)}
    torch.testing.assert_close(net(torch.ones(6)), net.linear2(torch.tanh(net.linear1(torch.ones(6)))))
