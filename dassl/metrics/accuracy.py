"""Top-k accuracy."""


def compute_accuracy(output, target, topk=(1,)):
    """Return the accuracy of a batch in percent for each k of `topk`, a list of one-element tensors.

    Args:
        output: scores (batch, n_cls); of a tuple or list the first entry counts.
        target: labels (batch,).
    """
    if isinstance(output, (tuple, list)):
        output = output[0]
    ranked = output.topk(max(topk), dim=1).indices  # (batch, max k), best first
    correct = ranked.eq(target.view(-1, 1))
    return [correct[:, :k].sum().float().view(1) * (100.0 / target.size(0)) for k in topk]
