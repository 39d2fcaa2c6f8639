"""A program: run train.py of a checkout until its first step, and print as JSON what that took.

    python benchmarks/first_step.py CHECKOUT STARTED ARGUMENTS OF TRAIN.PY

STARTED is the time at which it was started. It imports nothing of the checkout that it lies in.
"""

import functools
import json
import os
import sys
import time

marks = {}  # stage that ends here -> (seconds of CPU, of wall)


def mark(stage):
    marks[stage] = time.process_time(), time.time() - started


def between(method, before=None, after=None):
    """`method`, and marks before and after it."""

    @functools.wraps(method)
    def marked(*args):
        if before:
            mark(before)
        result = method(*args)
        if after:
            mark(after)
        if after == "first step":
            os.write(answer, json.dumps(marks).encode())
            os._exit(0)
        return result

    return marked


if __name__ == "__main__":
    checkout, started = sys.argv[1], float(sys.argv[2])
    answer = os.dup(1)
    os.dup2(2, 1)  # what train.py prints is not the answer
    os.chdir(checkout)
    sys.path[0] = checkout
    import train
    from trainers.base import PromptTrainer

    mark("imports")
    PromptTrainer.build_data_loader = between(PromptTrainer.build_data_loader, "config, log", "data set")
    PromptTrainer.build_model = between(PromptTrainer.build_model, after="model")
    PromptTrainer.forward_backward = between(PromptTrainer.forward_backward, "curves, first batch", "first step")
    sys.exit(train.main(sys.argv[3:]) or 1)
