"""Checkpoints and parameters."""

import os.path as osp
import re
import shutil

import torch

from dassl.utils.errors import MissingFile, UserError
from dassl.utils.files import write_whole

BEST_MODEL = "model-best.pth.tar"


def save_checkpoint(state, save_dir, is_best=False, remove_module_from_keys=True, model_name=""):
    """Write a checkpoint in Dassl's layout.

    The file is `save_dir`/model.pth.tar-<epoch> (or `model_name`); `save_dir`/checkpoint then holds its name,
    and `is_best` also copies it to `save_dir`/model-best.pth.tar. Each file is written under another name,
    flushed to the disk and renamed: whoever reads it finds the old content or the new, never a part.

    Args:
        state: dictionary with at least "state_dict" and "epoch" (number of finished epochs); not changed.
        remove_module_from_keys: drop the leading "module." that nn.DataParallel puts before parameter names.

    Raises ValueError, naming file and cause, if a file cannot be written.
    """
    if remove_module_from_keys:
        state = {**state, "state_dict": _without_module(state["state_dict"])}
    fpath = osp.join(save_dir, model_name or f"model.pth.tar-{state['epoch']}")
    write_whole(fpath, lambda file: torch.save(state, file), "wb", sync=True)
    print(f"Checkpoint saved to {fpath}")

    pointer = (osp.basename(fpath) + "\n").encode()
    write_whole(osp.join(save_dir, "checkpoint"), lambda file: file.write(pointer), "wb", sync=True)

    if is_best:
        best_fpath = osp.join(save_dir, BEST_MODEL)
        with open(fpath, "rb") as source:
            write_whole(best_fpath, lambda file: shutil.copyfileobj(source, file), "wb", sync=True)
        print(f'Best checkpoint saved to "{best_fpath}"')


def load_checkpoint(fpath):
    """Return the content of a checkpoint, with all tensors in main memory.

    Models and optimisers copy what they load to their own device, and random states must be in main memory
    anyway: so a checkpoint loads on any machine, whatever GPU wrote it. Only plain data and tensors are read,
    never code.

    Raises ValueError if `fpath` is None or not a readable checkpoint, FileNotFoundError if it does not exist.
    """
    if fpath is None:
        raise UserError("no checkpoint to load: its path is None")
    if not osp.isfile(fpath):
        raise MissingFile(f'checkpoint "{fpath}" does not exist: check the folder and the epoch')
    try:
        return torch.load(fpath, map_location="cpu", weights_only=True)
    except Exception as error:  # of which type depends on where the file is damaged and on PyTorch's version
        foreign = re.search(r"Unsupported global: GLOBAL (\S+)", str(error))
        if foreign:  # original Dassl's checkpoints do, if there was a warm-up
            reason = f"it holds a Python object ({foreign.group(1)}): save its state_dict alone"
        else:
            reason = "it is damaged or no checkpoint: delete it or choose another one"
        raise UserError(f'checkpoint "{fpath}" cannot be read, {reason}') from error


def resume_from_checkpoint(fdir, model, optimizer=None, scheduler=None):
    """Load the checkpoint that `fdir`/checkpoint names into model, optimiser and scheduler.

    Returns the number of finished epochs. Raises as `load_checkpoint`, and ValueError if the weights do not
    fit.
    """
    with open(osp.join(fdir, "checkpoint"), encoding="utf-8") as file:
        fpath = osp.join(fdir, file.readline().strip())
    print(f'Loading checkpoint from "{fpath}"')
    checkpoint = load_checkpoint(fpath)
    load_weights(model, checkpoint["state_dict"], fpath)
    print("Loaded model weights")
    if optimizer is not None and checkpoint.get("optimizer") is not None:
        optimizer.load_state_dict(checkpoint["optimizer"])
        print("Loaded optimizer")
    if scheduler is not None and checkpoint.get("scheduler") is not None:
        scheduler.load_state_dict(checkpoint["scheduler"])
        print("Loaded scheduler")
    print(f"Previous epoch: {checkpoint['epoch']}")
    return checkpoint["epoch"]


def load_weights(model, state_dict, source):
    """`model.load_state_dict(state_dict)`; a misfit is a ValueError of one sentence that names `source`."""
    try:
        model.load_state_dict(state_dict)
    except RuntimeError as error:
        details = "; ".join(line.strip() for line in str(error).split("\n")[1:])
        raise UserError(
            f'weights in "{source}" do not fit the model ({details}): use the config that made them'
        ) from error


def load_pretrained_weights(model, weight_path):
    """Load from `weight_path` (a checkpoint or a bare state dict) what fits the model in name and shape.

    Prints what was left out. Raises as `load_checkpoint`, and ValueError if nothing fits.
    """
    checkpoint = load_checkpoint(weight_path)
    loaded = _without_module(checkpoint.get("state_dict", checkpoint))
    own = model.state_dict()
    matched = {k: v for k, v in loaded.items() if k in own and own[k].shape == v.shape}
    if not matched:
        raise UserError(f'weights in "{weight_path}" have no layer in common with the model: check MODEL.INIT_WEIGHTS')
    model.load_state_dict({**own, **matched})
    print(f"Successfully loaded pretrained weights from {weight_path}")
    discarded = [k for k in loaded if k not in matched]
    if discarded:
        print(f"Layers discarded due to unmatched keys or size: {discarded}")


def _without_module(state_dict):
    return {k[len("module.") :] if k.startswith("module.") else k: v for k, v in state_dict.items()}
