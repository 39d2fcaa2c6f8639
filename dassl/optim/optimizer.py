"""PyTorch's optimisers, by Dassl's names and config keys."""

import inspect
import warnings

import torch
from torch import nn

from dassl.optim.radam import RAdam
from dassl.utils import UserError, check_availability, tolist_if_not

AVAI_OPTIMS = ["adam", "amsgrad", "sgd", "rmsprop", "radam", "adamw"]


def build_optimizer(model, optim_cfg, param_groups=None):
    """Build the optimiser that `optim_cfg` (a config's OPTIM node) describes.

    If `optim_cfg` has a key EPS, it is the epsilon of all but sgd (SEP's authors added that key to their
    Dassl).

    Args:
        model: an nn.Module, or what PyTorch's optimisers take: parameters or dictionaries of parameter
            groups.
        param_groups: optimise these instead of the model's parameters; STAGED_LR is then the caller's to heed.

    Raises ValueError for an unknown name, also one in NEW_LAYERS, and TypeError if STAGED_LR is set and `model` is not
    an nn.Module.
    """
    check_availability(optim_cfg.NAME, AVAI_OPTIMS, kind="optimiser (OPTIM.NAME)")
    if param_groups is None and optim_cfg.STAGED_LR:
        param_groups = _staged_groups(model, optim_cfg)
    elif param_groups is None:
        param_groups = model.parameters() if isinstance(model, nn.Module) else model
    cls, options = _choose(optim_cfg)
    return _light(cls)(param_groups, lr=optim_cfg.LR, weight_decay=optim_cfg.WEIGHT_DECAY, **options)


def _choose(optim_cfg):
    name = optim_cfg.NAME
    if name == "sgd":
        return torch.optim.SGD, {
            "momentum": optim_cfg.MOMENTUM,
            "dampening": optim_cfg.SGD_DAMPNING,
            "nesterov": optim_cfg.SGD_NESTEROV,
        }
    eps = {"eps": optim_cfg.EPS} if "EPS" in optim_cfg else {}
    if name == "rmsprop":
        return torch.optim.RMSprop, {"momentum": optim_cfg.MOMENTUM, "alpha": optim_cfg.RMSPROP_ALPHA, **eps}
    adam = {"betas": (optim_cfg.ADAM_BETA1, optim_cfg.ADAM_BETA2), **eps}
    return {
        "adam": (torch.optim.Adam, adam),
        "amsgrad": (torch.optim.Adam, {**adam, "amsgrad": True}),
        "radam": (RAdam, adam),
        "adamw": (torch.optim.AdamW, adam),
    }[name]


def _light(cls):
    """The optimiser class without the import of PyTorch's compiler, which takes longer than that of PyTorch itself.

    These methods import it for nothing but to tell it that it is to leave them alone.
    """
    names = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
    methods = {name: inspect.unwrap(getattr(cls, name)) for name in names}
    return type(cls.__name__, (cls,), {**methods, "step": torch.no_grad()(inspect.unwrap(cls.step))})


def _staged_groups(model, optim_cfg):
    if not isinstance(model, nn.Module):
        raise TypeError("OPTIM.STAGED_LR needs an nn.Module, not parameters")
    if isinstance(model, nn.DataParallel):
        model = model.module
    new_layers = tolist_if_not(optim_cfg.NEW_LAYERS) if isinstance(optim_cfg.NEW_LAYERS, str) else optim_cfg.NEW_LAYERS
    if not new_layers:
        warnings.warn("OPTIM.NEW_LAYERS is empty: OPTIM.STAGED_LR lowers every learning rate", stacklevel=3)
    children = [name for name, _ in model.named_children()]
    for name in new_layers:
        if name not in children:
            raise UserError(
                f'OPTIM.NEW_LAYERS names "{name}", which the model has not: choose from {", ".join(children)}.'
            )
    base_params, new_params = [], []
    for name, module in model.named_children():
        (new_params if name in new_layers else base_params).extend(module.parameters())
    return [{"params": base_params, "lr": optim_cfg.LR * optim_cfg.BASE_LR_MULT}, {"params": new_params}]
