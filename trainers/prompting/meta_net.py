"""Meta network: from an encoder's feature to what the prompts of an image or a class are made of."""

from torch import nn


class MetaNet(nn.Module):
    """Linear(n_in, n_hidden), activation, Linear(n_hidden, n_out), each with a bias and PyTorch's start values.

    The bottleneck of CoCoOp (arXiv 2203.05557, section 3.2; names as in its authors' code).

    Args:
        activation: the function in between, a module.
    """

    def __init__(self, n_in, n_hidden, n_out, activation=None):
        super().__init__()
        self.linear1 = nn.Linear(n_in, n_hidden)
        self.activation = activation or nn.ReLU()
        self.linear2 = nn.Linear(n_hidden, n_out)

    def forward(self, x):
        """x (..., n_in) -> (..., n_out)."""
        return self.linear2(self.activation(self.linear1(x)))
