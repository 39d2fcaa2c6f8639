"""The original's RAdam, by PyTorch's."""

import torch


class RAdam(torch.optim.RAdam):
    """It shrinks the weights apart from the gradient, and steps as SGD until there is a variance to divide by."""

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0):
        super().__init__(params, lr, betas, eps, weight_decay, decoupled_weight_decay=True)
