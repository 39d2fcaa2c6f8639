"""Learning-rate schedules with warm-up; one step is one epoch."""

from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, MultiStepLR, StepLR

from dassl.utils import check_availability

AVAI_SCHEDS = ["single_step", "multi_step", "cosine"]
AVAI_WARMUPS = ["constant", "linear"]


class WarmUp(LRScheduler):
    """Some epochs at the warm-up's learning rate, then the schedule `successor`.

    A constant warm-up stays at `first_lr`. A linear one has an epoch at `first_lr`, and then epoch / `warmup_epoch` of
    the full learning rate.

    Args:
        successor: built on the same optimiser, before this one, and stepped only here.
        kind: "constant" or "linear".
    """

    def __init__(self, optimizer, successor, warmup_epoch, kind, first_lr):
        self.successor, self.warmup_epoch = successor, warmup_epoch
        self.kind, self.first_lr = kind, first_lr
        super().__init__(optimizer)

    @property
    def over(self):
        return self.last_epoch >= self.warmup_epoch

    def get_lr(self):
        if self.over:
            return self.successor.get_last_lr()
        if self.kind == "constant" or self.last_epoch == 0:
            return [self.first_lr for _ in self.base_lrs]
        return [lr * self.last_epoch / self.warmup_epoch for lr in self.base_lrs]

    def step(self, epoch=None):
        if not self.over:
            super().step(epoch)
            return
        self.successor.step(epoch)
        self._last_lr = self.successor.get_last_lr()

    # The successor's state goes into a checkpoint as plain data, which torch.load(weights_only=True) reads.
    # The object itself would drag its optimiser along, and loading it would leave it stepping a dead copy of
    # that.
    def state_dict(self):
        return {**super().state_dict(), "successor": self.successor.state_dict()}

    def load_state_dict(self, state_dict):
        state = dict(state_dict)
        self.successor.load_state_dict(state.pop("successor"))
        super().load_state_dict(state)


def build_lr_scheduler(optimizer, optim_cfg):
    """Build the schedule that `optim_cfg` (a config's OPTIM node) describes.

    Raises ValueError for an unknown schedule or warm-up and for a STEPSIZE of the wrong type.
    """
    check_availability(optim_cfg.LR_SCHEDULER, AVAI_SCHEDS, kind="schedule (OPTIM.LR_SCHEDULER)")
    scheduler, kind = _build_schedule(optimizer, optim_cfg), optim_cfg.WARMUP_TYPE
    if optim_cfg.WARMUP_EPOCH <= 0:
        return scheduler

    check_availability(kind, AVAI_WARMUPS, kind="warm-up (OPTIM.WARMUP_TYPE)")
    if not optim_cfg.WARMUP_RECOUNT:
        scheduler.last_epoch = optim_cfg.WARMUP_EPOCH
    first_lr = optim_cfg.WARMUP_CONS_LR if kind == "constant" else optim_cfg.WARMUP_MIN_LR
    return WarmUp(optimizer, scheduler, optim_cfg.WARMUP_EPOCH, kind, first_lr)


def _build_schedule(optimizer, optim_cfg):
    stepsize = optim_cfg.STEPSIZE
    if optim_cfg.LR_SCHEDULER == "cosine":
        return CosineAnnealingLR(optimizer, float(optim_cfg.MAX_EPOCH))
    if optim_cfg.LR_SCHEDULER == "multi_step":
        if not isinstance(stepsize, (list, tuple)):
            raise ValueError(f"OPTIM.STEPSIZE must be a list for multi_step, not {type(stepsize).__name__}")
        return MultiStepLR(optimizer, milestones=stepsize, gamma=optim_cfg.GAMMA)
    if isinstance(stepsize, (list, tuple)):
        stepsize = stepsize[-1]
    if not isinstance(stepsize, int):
        raise ValueError(f"OPTIM.STEPSIZE must hold integers for single_step, not {type(stepsize).__name__}")
    return StepLR(optimizer, step_size=stepsize if stepsize > 0 else optim_cfg.MAX_EPOCH, gamma=optim_cfg.GAMMA)
