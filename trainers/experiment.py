NOT_THE_EXPERIMENT = {
    "DATALOADER.NUM_WORKERS", "DATALOADER.TEST.BATCH_SIZE", "DATASET.ROOT", "OUTPUT_DIR", "RESUME", "TEST.COMPUTE_CMAT",
    "TEST.NO_TEST", "TEST.PER_CLASS_RESULT", "TEST.SAVE_PREDICTIONS", "TEST.SPLIT", "TRAIN.CHECKPOINT_FREQ",
    "TRAIN.PRINT_FREQ", "USE_CUDA", "VERBOSE", "VERSION",
}  # fmt: skip


def settings_of(cfg, prefix=""):
    out = {}
    for key, value in cfg.items():
        if hasattr(value, "items"):
            out.update(settings_of(value, f"{prefix}{key}."))
        elif f"{prefix}{key}" not in NOT_THE_EXPERIMENT:
            out[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return out


def differences(theirs, ours, ignore=()):
    return [k for k, v in ours.items() if k in theirs and k not in ignore and plain(theirs[k]) != plain(v)]


def plain(v):
    return list(v) if isinstance(v, tuple) else v
