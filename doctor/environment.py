"""Python, its packages, and the devices. Nothing here needs a package to be there: it says which one is not."""

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator

from harness.errors import PACKAGES, unrelated_clip
from harness.start import ROOT

from .findings import FAULT, NOTE, OK, Finding

OLDEST = (3, 11)  # Python
INSTALL = "pip install -r requirements.txt"
WORKERS = 8  # processes that load pictures, in most published configs (DATALOADER.NUM_WORKERS)


def environment() -> Iterator[Finding]:
    yield _python()
    yield _packages()
    yield _clip()
    torch, finding = _torch()
    yield finding
    if torch is not None:
        yield from _gpus(torch)
        yield _cores(torch)


def _python():
    text = f"{platform.python_version()}, {sys.executable}"
    if sys.version_info < OLDEST:
        return Finding(FAULT, "python", text, f"install {'.'.join(map(str, OLDEST))} or newer, then make venv")
    return Finding(OK, "python", text)


def needed() -> dict:
    """Package -> the version that the tests run with, of what runs need: the first block of requirements.txt."""
    with open(os.path.join(ROOT, "requirements.txt"), encoding="utf-8") as file:
        block = file.read().partition("\n\n")[0]
    return dict(re.findall(r"^([\w-]+)==([\w.]+)", block, re.MULTILINE))


def _packages():
    absent, others = [], []
    wanted = needed()
    for name, version in wanted.items():
        try:
            found = importlib.metadata.version(name).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            absent.append(name)
            continue
        if found != version:
            others.append(f"{name} {found} ({version})")
    if absent:
        return Finding(FAULT, "packages", f"not installed: {', '.join(absent)}", INSTALL)
    if others:
        return Finding(NOTE, "packages", f"others than the tests run with (in brackets): {', '.join(others)}", INSTALL)
    return Finding(OK, "packages", f"{len(wanted)} in the versions that the tests run with")


def _clip():
    place, name = unrelated_clip(), PACKAGES["clip"]
    if place:
        mend = f"pip uninstall clip, then pip install {name}"
        return Finding(FAULT, "clip", f"the package in {place} is not OpenAI's CLIP", mend)
    spec = importlib.util.find_spec("clip")
    if spec is None:
        return Finding(FAULT, "clip", "there is no package clip", f"pip install {name}")
    return Finding(OK, "clip", f"OpenAI's, in {os.path.dirname(spec.origin)}")


def _torch():
    """(the module or None, what is found)"""
    try:
        import torch
    except Exception as error:  # a library of the system that is lacking is an OSError, and so on
        return None, Finding(FAULT, "torch", f"it cannot be imported ({error})", INSTALL)
    cuda = f"CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
    return torch, Finding(OK, "torch", f"{torch.__version__}, {cuda}")


def _gpus(torch):
    driver = _of_the_driver()
    if not torch.cuda.is_available():
        if not driver:
            yield Finding(NOTE, "gpu", "none: all runs on the CPU, where ViT-B/16 takes days for a table")
        elif torch.version.cuda:
            yield Finding(
                FAULT, "gpu", f"PyTorch cannot use {driver[0]}", "update the driver, or see CUDA_VISIBLE_DEVICES"
            )
        else:
            yield Finding(
                FAULT, "gpu", f"this PyTorch has no CUDA, for {driver[0]}", "install PyTorch's build for CUDA"
            )
        return
    for i in range(torch.cuda.device_count()):
        yield _gpu(torch, i, driver[i] if i < len(driver) else "")


def _gpu(torch, i, driver):
    name, check = torch.cuda.get_device_name(i), f"gpu {i}"
    try:
        free, total = torch.cuda.mem_get_info(i)
        right = (torch.arange(4.0, device=f"cuda:{i}") * 2).sum().item() == 12
        bf16 = torch.cuda.is_bf16_supported()
    except RuntimeError as error:
        reason = str(error).strip().partition("\n")[0]
        return Finding(FAULT, check, f"{name} does not work ({reason})", "install a PyTorch that is built for it")
    if not right:
        return Finding(FAULT, check, f"{name} adds 0 + 2 + 4 + 6 up to another number than 12", "do not use it")
    text = f"{name}, {total / 2**30:.0f} GiB, {'bf16' if bf16 else 'no bf16'}" + (
        f", driver {driver}" if driver else ""
    )
    if free < total / 2:
        return Finding(NOTE, check, f"{text}; others use {(total - free) / 2**30:.0f} GiB of it")
    return Finding(OK if bf16 else NOTE, check, text)


def _of_the_driver():
    """A line for each GPU that the driver knows: its version and the GPU's name; none without a driver."""
    if not shutil.which("nvidia-smi"):
        return []
    command = ["nvidia-smi", "--query-gpu=driver_version,name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.strip().splitlines() if done.returncode == 0 else []


def _cores(torch):
    cores = len(os.sched_getaffinity(0))
    text = f"{cores} for this process; PyTorch's threads: {torch.get_num_threads()}"
    if cores < WORKERS:
        return Finding(
            NOTE, "cores", f"{text}; a run's {WORKERS} loading processes share them (DATALOADER.NUM_WORKERS)"
        )
    return Finding(OK, "cores", text)
