"""The mutual information I(X; Y) of two views of the same samples: learnable estimates, and one in closed form.

Of two views that are distributions over classes, the joint distribution of the classes is the mean over the samples of
their products, and its mutual information is exact, bounded and needs no critic (`ClassInformation`);
`ClusterInformation` has that of learned clusters. For any two views, `CriticInformation` learns a bound: a critic
scores every pair of the batch, T[i, j] = t(x_i, y_j). The diagonal of T holds the joint pairs (the two views of one
sample), the rest the marginal pairs (views of different samples), and a variational lower bound turns the two into an
estimate. Raising the bound makes the critic tight, and the views share information.

That the estimator is learned is from E2MIM (arXiv 2410.03189); the critic's form is our choice. The bounds:
- `jsd`: of Jensen-Shannon type; steady, but not in nats: between -2 log 2 (independent views) and 0;
- `dv`: Donsker and Varadhan's, in nats, with the corrected gradient of MINE (arXiv 1801.04062, section 3.2);
- `infonce`: in nats, at most the logarithm of the batch size (arXiv 1807.03748, section 2.3).

Everything here is computed in single precision, whatever the inputs and autocast: half precision overflows.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from ..compat import autocast


class Critic(nn.Module):
    """Separable critic t(x, y) = scale * cos(g(x), h(y)), with a two-layer MLP for each view (our choice).

    It costs 2B passes of a small MLP for the B * B pairs of a batch. Two things let it learn at the
    learning rate of the prompts (SGD, 2e-3), whatever the number of classes; without them `dv` diverges,
    and with many classes nothing is learned. Each entry of a view is standardised over the batch, which
    leaves its information as it is. Scores stay within +-scale: e^t cannot explode, and density ratios up
    to e^scale are in reach.

    Keep its parameters in single precision. In training mode a batch needs at least two samples (ValueError).
    """

    def __init__(self, dim_x, dim_y, hidden=256, out=128, scale=10.0):
        super().__init__()
        self.view_x = self._mlp(dim_x, hidden, out)
        self.view_y = self._mlp(dim_y, hidden, out)
        self.scale = scale

    @staticmethod
    def _mlp(dim, hidden, out):
        standardise = nn.BatchNorm1d(dim, affine=False)
        return nn.Sequential(standardise, nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, out))

    def forward(self, x, y):
        """Score all pairs: x (B, dim_x), y (B, dim_y) -> T (B, B), float32, T[i, j] = t(x_i, y_j)."""
        with autocast(x.device.type, enabled=False):
            x = F.normalize(self.view_x(x.float()), dim=-1)
            y = F.normalize(self.view_y(y.float()), dim=-1)
            return self.scale * x @ y.t()


def jsd(scores):
    """Jensen-Shannon type bound E_joint[-softplus(-t)] - E_marg[softplus(t)] of scores (B, B); not in nats.

    Its best critic is the logarithm of the density ratio, the same as that of `dv`.
    """
    joint, marginal = _split(scores)
    return -F.softplus(-joint).mean() - F.softplus(marginal).mean()


def dv(scores):
    """Donsker-Varadhan bound E_joint[t] - log E_marg[e^t] of scores (B, B), in nats."""
    joint, marginal = _split(scores)
    return joint.mean() - _log_mean_exp(marginal)


def infonce(scores):
    """InfoNCE bound mean_i [t_ii - log (1/B) sum_j e^t_ij] of scores (B, B), in nats, at most log B."""
    joint, _ = _split(scores)
    return (joint - torch.logsumexp(scores.float(), dim=1)).mean() + math.log(len(joint))


class CriticInformation(nn.Module):
    """One of the bounds on a critic's scores: x (B, dim_x), y (B, dim_y) -> scalar to be maximised."""

    def __init__(self, name, critic, decay):
        super().__init__()
        self.critic, self.estimator = critic, MIEstimator(name, decay)
        self.nats = self.estimator.nats

    def forward(self, x, y):
        return self.estimator(self.critic(x, y))


def information(joint):
    """I(X; Y) in nats of a joint distribution (n, m), whose entries sum to one."""
    joint = joint.clamp_min(torch.finfo(joint.dtype).tiny)  # 0 log 0 = 0, with a finite gradient
    return (joint * (joint.log() - joint.sum(1, True).log() - joint.sum(0, True).log())).sum()


class ClassInformation(nn.Module):
    """Mutual information of the classes that two views predict, from log-probabilities (B, n) and (B, m), in nats.

    The joint distribution of both classes is P = (1/B) sum_i p_i q_i^T (Ji et al., arXiv 1812.00399, section 3.1;
    theirs is made symmetric, but here one view is frozen). Between 0 (independent) and the logarithm of the number of
    classes.
    """

    nats = True

    def forward(self, log_p, log_q):
        with autocast(log_p.device.type, enabled=False):
            p, q = log_p.float().exp(), log_q.float().exp()
            return information(p.t() @ q / len(p))


class ClusterInformation(ClassInformation):
    """The same of `n_clusters` clusters, to which a learned linear head for each view assigns the samples (our choice).

    The heads read log-probabilities, each entry standardised over the batch as the critic's are. What they lose is
    information, so this is a lower bound on that of the views, at most the logarithm of `n_clusters`.
    """

    def __init__(self, dim_x, dim_y, n_clusters):
        super().__init__()
        self.view_x, self.view_y = (
            nn.Sequential(nn.BatchNorm1d(dim, affine=False), nn.Linear(dim, n_clusters)) for dim in (dim_x, dim_y)
        )

    def forward(self, log_p, log_q):
        with autocast(log_p.device.type, enabled=False):
            clusters = self.view_x(log_p.float()), self.view_y(log_q.float())
            return super().forward(*(scores.log_softmax(dim=-1) for scores in clusters))


class MIEstimator(nn.Module):
    """One of the bounds, `name` in jsd, dv, infonce, as a module: scores (B, B) -> scalar to be maximised.

    The gradient of `dv` on a batch is biased, as the mean of e^t stands under a logarithm. In training mode
    its denominator is therefore a moving average of that mean; the value stays the bound on this batch.
    MINE leaves `decay` open; 0.9 is our choice, as training is steadier than at 0.99. The average is a
    buffer: with it in the checkpoint, training resumes exactly.

    `nats` says whether the value is an amount of information in nats.
    Raises KeyError for an unknown name, ValueError for a batch of fewer than two samples: it has no marginal pairs.
    """

    bounds = {"jsd": jsd, "dv": dv, "infonce": infonce}

    def __init__(self, name, decay=0.9):
        super().__init__()
        self.name, self.bound = name, self.bounds[name]
        self.nats = name != "jsd"
        self.decay = decay
        if name == "dv":  # log of the moving average of mean e^t; -inf until the first batch
            self.register_buffer("log_average", torch.tensor(-math.inf))

    def forward(self, scores):
        value = self.bound(scores)
        if self.name == "dv" and self.training:
            return self._correct_gradient(value, scores)
        return value

    def _correct_gradient(self, value, scores):
        joint, marginal = _split(scores)
        log_mean = _log_mean_exp(marginal)
        with torch.no_grad():
            moved = torch.logaddexp(self.log_average + math.log(self.decay), log_mean + math.log1p(-self.decay))
            # torch.where, not `if`: nothing is read back from the GPU
            self.log_average.copy_(torch.where(torch.isinf(self.log_average), log_mean, moved))
        # The gradient of this is that of E_joint[t] minus that of E_marg[e^t] over the average. The average
        # holds 1 - decay of this batch's mean, so that the exponential is at most 1 / (1 - decay).
        corrected = joint.mean() - torch.exp(log_mean - self.log_average)
        return value.detach() + corrected - corrected.detach()


def _split(scores):
    """Scores (B, B) -> joint pairs (B,), marginal pairs (B, B - 1), both float32."""
    n = len(scores)
    if scores.shape != (n, n) or n < 2:
        raise ValueError(
            f"mutual information needs the scores of all pairs of at least 2 samples, a square matrix, "
            f"not one of shape {tuple(scores.shape)}: leave the term out of smaller batches"
        )
    scores = scores.float()
    # dropping the first entry, rows of n + 1 end with a diagonal entry each
    marginal = scores.flatten()[1:].view(n - 1, n + 1)[:, :-1].reshape(n, n - 1)
    return scores.diagonal(), marginal


def _log_mean_exp(x):
    return torch.logsumexp(x.flatten(), dim=0) - math.log(x.numel())
