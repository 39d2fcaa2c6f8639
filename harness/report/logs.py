"""Results in the log.txt of runs, which other forks of CoOp leave in the place of a metrics.json."""

import io
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Optional

from ..edited import open_regular
from ..errors import UserError

MOST_BYTES = 2**28  # of a log
# A line after which a log's result blocks count. "Finished training" is what older Dassl versions print; a
# run that only evaluates says so among its arguments and never trains.
TRAINED = ("Finish training", "Finished training", "eval_only: True")
TESTED = ("=> result",)
_NEW_RUN = "** Arguments **"  # the first line that train.py writes, so what follows belongs to another run
_EVALUATED = re.compile(r"Evaluate on the \*(\w*)\* set")
_OF_MODEL = re.compile(
    r"(model_dir|FINAL_MODEL): (.*)|(MAX_EPOCH): (\d{1,9})|Loading weights to .+ \((epoch) = (\d{1,9})\)"
)
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
    """The newest value in a run's logs and the log it is from; (None, None) if there is none. Raises UserError.

    Dassl starts `log.txt-<date and time>` when a run is resumed, so the names' order is the order in time.
    """
    value, source = None, None
    for path in sorted([*Path(folder).glob("log.txt"), *Path(folder).glob("log.txt-*")]):
        found = value_in_log(_lines(path), keyword, signals)
        if found is not None:
            value, source = found, path
    return value, source


def model_in_log(path) -> dict:
    """What the log of a test says of its model, by the keys of a record (harness/records.py)."""
    said = {}
    for line in map(str.strip, _lines(path)):
        match = _OF_MODEL.match(line)
        if line == _NEW_RUN:
            said = {}
        elif match:
            said.update(pair for pair in zip(match.groups()[::2], match.groups()[1::2]) if pair[0])
    record = {"model_dir": said.get("model_dir", ""), "settings": {"TEST.FINAL_MODEL": said.get("FINAL_MODEL")}}
    if "epoch" in said and "MAX_EPOCH" in said:
        record.update(epoch=int(said["epoch"]), max_epoch=int(said["MAX_EPOCH"]), trained_epochs=int(said["MAX_EPOCH"]))
    return record


def _lines(path):
    try:
        with open_regular(path, MOST_BYTES) as file:
            yield from io.TextIOWrapper(file, encoding="utf-8", errors="replace")
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); put the log back, or test that run again") from None
