"""Adapters beside the layers of both encoders, whose middle the two share (MMA, CVPR 2024, section 3.2)."""

from torch import nn
from torch.nn import functional as F

from .encoders import check_layer


class SharedAdapters(nn.Module):
    """Beside each layer from `first` on, of its input z behind ln_1: scale up(middle(relu(shared(relu(down(z)))))).

    Weights start as He's normal initialisation (fan-out), biases as PyTorch's.

    Args:
        key: the config key of `first`, for errors.
        first: the first layer with an adapter, from 0.
        dim: width of the middle. A layer that only the deeper encoder has is adapted with a middle of its own.
        encoders: those of "text" and "image".
    """

    def __init__(self, key, first, dim, encoders):
        super().__init__()
        self.first = first
        depths = [encoder.n_layers for encoder in encoders.values()]
        check_layer(key, first, min(depths))

        def linears(depth, n_in, n_out):
            return nn.ModuleList([linear(n_in, n_out) for _ in range(first, depth)])

        self.down = nn.ModuleDict({k: linears(e.n_layers, e.width, dim) for k, e in encoders.items()})
        self.up = nn.ModuleDict({k: linears(e.n_layers, dim, e.width) for k, e in encoders.items()})
        self.shared = linears(max(depths), dim, dim)

    def beside(self, encoder, scale):
        """The adapters of encoder "text" or "image", as `encoders.Beside`. scale: of what they add, a number."""

        def adapter(i, part, z):
            if part != "block" or i < self.first:
                return None
            n = i - self.first
            z = F.relu(self.apply_linear(self.down[encoder][n], z))
            z = self.middle(F.relu(self.apply_linear(self.shared[n], z)))
            return scale * self.apply_linear(self.up[encoder][n], z)

        return adapter

    def middle(self, z):
        return z

    def apply_linear(self, layer, x):
        """In the type of x."""
        return F.linear(x, layer.weight.to(x.dtype), layer.bias.to(x.dtype))


def linear(n_in, n_out):
    layer = nn.Linear(n_in, n_out)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer
