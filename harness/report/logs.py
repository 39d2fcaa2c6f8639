"""Results in the log.txt of runs, which other forks of CoOp leave in the place of a metrics.json."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Optional

# A line after which a log's result blocks count. "Finished training" is what older Dassl versions print; a
# run that only evaluates says so among its arguments and never trains.
TRAINED = ("Finish training", "Finished training", "eval_only: True")
TESTED = ("=> result",)
_NEW_RUN = "** Arguments **"  # the first line that train.py writes, so what follows belongs to another run
_EVALUATED = re.compile(r"Evaluate on the \*(\w*)\* set")
_NUMBER = r"([-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)"


def value_in_log(lines: Iterable[str], keyword: str, signals: tuple) -> Optional[float]:
    """The last `* <keyword>: <number>%` of the test split after a line equal to one of `signals`; None without any."""
    pattern = re.compile(rf"\* {re.escape(keyword)}: {_NUMBER}%")
    counts, on_test, value = False, True, None
    for line in map(str.strip, lines):
        evaluated = _EVALUATED.match(line)
        if line == _NEW_RUN:
            counts = False
        elif evaluated:
            on_test = evaluated[1] == "test"
        elif line in signals:
            counts = True
        elif counts and on_test:
            match = pattern.match(line)
            if match:
                value = float(match[1])
    return value


def value_in_logs(folder, keyword: str, signals: tuple) -> tuple:
    """The newest value in a run's logs and the log it is from; (None, None) if there is none.

    Dassl starts `log.txt-<date and time>` when a run is resumed, so the names' order is the order in time.
    """
    value, source = None, None
    for path in sorted([*Path(folder).glob("log.txt"), *Path(folder).glob("log.txt-*")]):
        with open(path, encoding="utf-8", errors="replace") as file:
            found = value_in_log(file, keyword, signals)
        if found is not None:
            value, source = found, path
    return value, source
