"""Class-wise Mixup: every sample is mixed with one of another class, so the mixture lies between two classes.

The mixed class is from E2MIM (arXiv 2410.03189, figure 1); how partners and proportions are drawn is our
choice. Mixup itself is arXiv 1710.09412. All is drawn on the host, by PyTorch's global generator, so that a training
run that restores its state resumes exactly, and no step waits for a GPU to say which labels it holds.
"""

import torch
import torch.nn.functional as F

from ..between_graphs import BetweenGraphs
from ..errors import UserError


@BetweenGraphs
def draw_partners(label, device="cpu"):
    """For each sample the index of a partner of a different class, drawn uniformly from the batch.

    label (B,), in the host's memory -> (B,) int64 on the device, or None when the batch has one class only: there is
    nothing to mix then.
    """
    if len(set(label.tolist())) < 2:
        return None
    different = label[:, None] != label[None, :]  # (B, B)
    return torch.multinomial(different.float(), 1).squeeze(1).to(device, non_blocking=True)


@BetweenGraphs
def draw_lam(n, alpha, device="cpu"):
    """Proportions lam ~ Beta(alpha, alpha) of n samples, one each: (n,) float32 in [0, 1].

    One per sample rather than one per batch: a batch then covers the whole way between its classes.
    Raises UserError unless alpha > 0.
    """
    if not alpha > 0:
        raise UserError(f"Mixup's alpha, the parameter of Beta(alpha, alpha), is {alpha}: it must be above 0.")
    alpha = torch.full((n,), float(alpha))
    return torch.distributions.Beta(alpha, alpha, validate_args=False).sample().to(device, non_blocking=True)


def mixup(x, x_partner, lam):
    """lam * x + (1 - lam) * x_partner: x and x_partner (B, ...), lam (B,), result in the type of x."""
    lam = lam.to(x.dtype).view(-1, *[1] * (x.dim() - 1))
    return lam * x + (1 - lam) * x_partner


def mix_features(feature, partner, lam):
    """Mixed features norm(lam * f_i + (1 - lam) * f_j), j = partner[i]: (B, dim) -> (B, dim), L2-normalised.

    Opposite features that cancel out give the zero vector, which is equally far from every class.
    """
    mixed = mixup(feature.float(), feature[partner].float(), lam)
    return F.normalize(mixed, dim=-1).to(feature.dtype)


def mix_targets(label, partner, lam, n_cls):
    """Soft targets lam * y_i + (1 - lam) * y_j, j = partner[i]: all (B,) -> (B, n_cls) float32."""
    target = torch.zeros(len(label), n_cls, device=label.device).scatter_(1, label[:, None], 1.0)
    return mixup(target, target[partner], lam)


def soft_cross_entropy(logits, target):
    """Mean over the batch of -sum_c target_c log softmax(logits)_c: (B, n_cls) twice -> scalar float32."""
    # F.cross_entropy takes such targets from PyTorch 1.10 on, with the same result
    return -(logits.float().log_softmax(dim=-1) * target.float()).sum() / len(logits)
