"""Run train.py of several forks, each in a fork of this process, which has loaded what they share: seconds each else.

Reads lines of JSON, {"cwd": folder, "argv": arguments of train.py, "log": file}, and answers each with the exit code.
"""

import json
import multiprocessing
import os
import runpy
import sys

import torch

import dassl.engine  # noqa: F401  the first of all: lets torchvision import beside a CPU-only PyTorch


def run(cwd, argv, log):
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(cwd)
    sys.argv, sys.path[0] = argv, cwd
    runpy.run_path("train.py", run_name="__main__")


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.dont_write_bytecode = False
    for line in sys.stdin:
        process = multiprocessing.get_context("fork").Process(target=run, kwargs=json.loads(line))
        process.start()
        process.join()
        print(process.exitcode, flush=True)
