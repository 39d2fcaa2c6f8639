"""The global default config: every run starts from a copy of it."""

from dassl.config.defaults import _C as cfg_default


def get_cfg_default():
    """Return a copy (yacs `CfgNode`) of the defaults, with the nodes of all trainers imported so far."""
    return cfg_default.clone()


def clean_cfg(cfg, trainer):
    """Drop the nodes of all trainers but `trainer` from `cfg`, in place, so that printing it stays short."""
    for key in list(cfg.TRAINER):
        if key not in ("NAME", trainer.upper()):
            cfg.TRAINER.pop(key)
