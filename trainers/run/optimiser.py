"""The optimiser of what a run trains, and its schedule, by Dassl's; named layers may have a rate of their own."""

from typing import Any, Dict, List, Optional, Sequence, Tuple

from torch import nn
from torch.optim import Optimizer
from yacs.config import CfgNode as CN

from dassl.optim import build_lr_scheduler, build_optimizer

from ..errors import UserError


def optimiser_of(
    trained: nn.ModuleDict, optim_cfg: CN, moves: Sequence[int], anew: Sequence[int] = ()
) -> Tuple[Optimizer, Any]:
    """Optimiser and learning-rate schedule of `trained`, as OPTIM says.

    moves: how often the schedule has moved on after 0, 1, ... MAX_EPOCH epochs.
    anew: after how many epochs a stage of the training ends, and the next begins with the whole schedule.
    """
    groups, own_cfg = staged_groups(trained, optim_cfg), optim_cfg.clone()
    own_cfg.defrost()
    own_cfg.STAGED_LR = False  # the groups are those; older versions of Dassl take no argument of that name
    optim = build_optimizer(groups or trained, own_cfg)
    for group in optim.param_groups:  # the original Dassl does not read EPS
        if "eps" in group:
            group["eps"] = optim_cfg.EPS
    fuse(optim)
    stages = [moves[first : last + 1] for first, last in zip([0, *anew], [*anew, optim_cfg.MAX_EPOCH])]
    return optim, _schedule(optim, own_cfg, moves) if not anew else Stages(optim, own_cfg, stages)


class Stages:
    """A schedule for each stage of a training, one after the other: each is all that OPTIM says, in its own moves.

    As optimisers of their own would: one leaves weights without a gradient alone, and starts at each weight's first.

    Args:
        stages: of each, how often the schedule has moved on when it begins, and after each of its epochs.
    """

    def __init__(self, optim: Optimizer, optim_cfg: CN, stages: Sequence[Sequence[int]]):
        self.optim, self.optim_cfg, self.left, self.done = optim, optim_cfg, list(stages), 0
        self._begin()

    def _begin(self):
        for group in self.optim.param_groups:
            group["lr"] = group.get("initial_lr", group["lr"])
        moves, cfg = self.left.pop(0), self.optim_cfg.clone()
        cfg.MAX_EPOCH, self.end = len(moves) - 1, moves[-1]
        self.now = _schedule(self.optim, cfg, [move - moves[0] for move in moves])

    def step(self) -> None:
        self.done += 1
        if self.done == self.end and self.left:
            self._begin()
        else:
            self.now.step()


def fuse(optim: Optimizer, device: str = "cuda") -> None:
    """Have one kernel update all tensors, if they are on a device of that kind and the optimiser has such a kernel.

    It also leaves a step out by itself where loss scaling found an overflow: the host need not wait to know. Dassl's
    `build_optimizer` does not pass `fused` on, so it is set as the optimiser's own constructor does.
    """
    parameters = [p for group in optim.param_groups for p in group["params"]]
    if all("fused" in group for group in optim.param_groups) and all(p.device.type == device for p in parameters):
        for group in optim.param_groups:
            group.update(fused=True, foreach=False)
        optim._step_supports_amp_scaling = True  # which torch.amp.GradScaler asks


def _schedule(optim, optim_cfg, moves):
    """Dassl's, whose epoch is a move: what OPTIM says in epochs is counted in moves."""
    epochs = optim_cfg.MAX_EPOCH

    def moves_of(epoch):
        return moves[epoch] if epoch <= epochs else moves[epochs] * epoch // epochs

    for key in ("MAX_EPOCH", "WARMUP_EPOCH"):
        optim_cfg[key] = moves_of(optim_cfg[key]) if optim_cfg[key] > 0 else optim_cfg[key]
    if isinstance(optim_cfg.STEPSIZE, (list, tuple)):
        optim_cfg.STEPSIZE = [moves_of(epoch) if epoch > 0 else epoch for epoch in optim_cfg.STEPSIZE]
    schedule = build_lr_scheduler(optim, optim_cfg)
    cosine = getattr(schedule, "successor", schedule)  # behind a warm-up
    if hasattr(cosine, "eta_min"):
        cosine.eta_min = optim_cfg.MIN_LR
    return schedule


def staged_groups(trained: nn.ModuleDict, optim_cfg: CN) -> Optional[List[Dict[str, Any]]]:
    """With OPTIM.STAGED_LR, parameter groups: what NEW_LAYERS names learns at LR, the rest at LR * BASE_LR_MULT.

    Names are those of checkpoints: "ctx", "meta_net", "text_enhancer.3". Dassl's own groups know only the children of
    what it is given, and put everything that they do not find at the lower rate. Raises UserError for a name that
    matches nothing, and for none.
    """
    if not optim_cfg.STAGED_LR:
        return None
    parameters = {name.partition(".")[2]: p for name, p in trained.named_parameters()}
    layers = list(optim_cfg.NEW_LAYERS)
    found = {layer: [n for n in parameters if n == layer or n.startswith(f"{layer}.")] for layer in layers}
    wrong = [layer for layer in layers if not found[layer]] or ([] if layers else [""])
    if wrong:
        known = sorted({name.partition(".")[0] for name in parameters})
        raise UserError(
            f'OPTIM.NEW_LAYERS names "{wrong[0]}", which OPTIM.STAGED_LR does not find: choose from '
            f"{', '.join(known)}, or what is in them."
        )
    new = {name for names in found.values() for name in names}
    rest = [p for name, p in parameters.items() if name not in new]
    groups = [{"params": rest, "lr": optim_cfg.LR * optim_cfg.BASE_LR_MULT}] if rest else []
    return [*groups, {"params": [p for name, p in parameters.items() if name in new]}]
