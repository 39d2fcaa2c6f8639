"""Gradient projection: keep a step from going against another loss (ProGrad, arXiv 2205.14865, section 3.2)."""

import torch


def project_conflicting(gradients, general, strength=1.0):
    """Take from each gradient its component against the gradient `general` of the same parameter.

    With d a gradient and g its general one, both seen as vectors:

        d                                 if <d, g> >= 0: a step along -d does not raise the other loss
        d - strength <d, g> / |g|^2 g     otherwise

    Args:
        gradients, general: sequences of tensors, of the same shapes in the same order.
        strength: 1 leaves d orthogonal to g, 0 leaves it as it is.

    Returns:
        List of new tensors. Where g is zero, d is kept. A value that is not finite spreads: a loss scaler sees it.
    """
    projected = []
    for d, g in zip(gradients, general):
        unit = g / torch.linalg.vector_norm(g).clamp_min(torch.finfo(g.dtype).tiny)
        against = (d * unit).sum().clamp(max=0)
        projected.append(d - strength * against * unit)
    return projected
