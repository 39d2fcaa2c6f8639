"""Learning-rate schedules with warm-up; one step is one epoch."""

from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, MultiStepLR, StepLR

from dassl.utils import check_availability

AVAI_SCHEDS = ["single_step", "multi_step", "cosine"]
AVAI_WARMUPS = ["constant", "linear"]


class _BaseWarmupScheduler(LRScheduler):
    """Some epochs at the warm-up's learning rate, then the schedule `successor`.

    `successor` must have been built on the same optimiser, before this one, and is stepped only here.
    """

    def __init__(self, optimizer, successor, warmup_epoch, last_epoch=-1):
        self.successor = successor
        self.warmup_epoch = warmup_epoch
        super().__init__(optimizer, last_epoch)

    def warmup_lr(self):
        """Return the learning rate of each parameter group in the warm-up epoch `self.last_epoch`."""
        raise NotImplementedError

    def get_lr(self):
        if self.last_epoch >= self.warmup_epoch:
            return self.successor.get_last_lr()
        return self.warmup_lr()

    def step(self, epoch=None):
        if self.last_epoch >= self.warmup_epoch:
            self.successor.step(epoch)
            self._last_lr = self.successor.get_last_lr()
        else:
            super().step(epoch)

    # The successor's state goes into a checkpoint as plain data, which torch.load(weights_only=True) reads.
    # The object itself would drag its optimiser along, and loading it would leave it stepping a dead copy of
    # that.
    def state_dict(self):
        state = super().state_dict()
        state["successor"] = self.successor.state_dict()
        return state

    def load_state_dict(self, state_dict):
        state = dict(state_dict)
        self.successor.load_state_dict(state.pop("successor"))
        super().load_state_dict(state)


class ConstantWarmupScheduler(_BaseWarmupScheduler):
    """`warmup_epoch` epochs at the learning rate `cons_lr`, then `successor`."""

    def __init__(self, optimizer, successor, warmup_epoch, cons_lr, last_epoch=-1):
        self.cons_lr = cons_lr
        super().__init__(optimizer, successor, warmup_epoch, last_epoch)

    def warmup_lr(self):
        return [self.cons_lr for _ in self.base_lrs]


class LinearWarmupScheduler(_BaseWarmupScheduler):
    """An epoch at `min_lr`, then epoch / `warmup_epoch` of the full learning rate, then `successor`."""

    def __init__(self, optimizer, successor, warmup_epoch, min_lr, last_epoch=-1):
        self.min_lr = min_lr
        super().__init__(optimizer, successor, warmup_epoch, last_epoch)

    def warmup_lr(self):
        if self.last_epoch == 0:
            return [self.min_lr for _ in self.base_lrs]
        return [lr * self.last_epoch / self.warmup_epoch for lr in self.base_lrs]


def build_lr_scheduler(optimizer, optim_cfg):
    """Build the schedule that `optim_cfg` (a config's OPTIM node) describes.

    Raises ValueError for an unknown schedule or warm-up and for a STEPSIZE of the wrong type.
    """
    check_availability(optim_cfg.LR_SCHEDULER, AVAI_SCHEDS, kind="schedule (OPTIM.LR_SCHEDULER)")
    scheduler = _build_schedule(optimizer, optim_cfg)
    if optim_cfg.WARMUP_EPOCH <= 0:
        return scheduler

    check_availability(optim_cfg.WARMUP_TYPE, AVAI_WARMUPS, kind="warm-up (OPTIM.WARMUP_TYPE)")
    if not optim_cfg.WARMUP_RECOUNT:
        scheduler.last_epoch = optim_cfg.WARMUP_EPOCH
    if optim_cfg.WARMUP_TYPE == "constant":
        return ConstantWarmupScheduler(optimizer, scheduler, optim_cfg.WARMUP_EPOCH, optim_cfg.WARMUP_CONS_LR)
    return LinearWarmupScheduler(optimizer, scheduler, optim_cfg.WARMUP_EPOCH, optim_cfg.WARMUP_MIN_LR)


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
