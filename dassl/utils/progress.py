"""Progress of what takes long: a bar on a terminal, a line now and then in a log."""

import sys

from tqdm import tqdm

INTERVAL = 10.0  # seconds between two lines where there is no terminal; what takes less says nothing
_LINE = "{desc}{n_fmt} of {total_fmt} {unit}, {elapsed} passed, about {remaining} left"
_LINE_WITHOUT_TOTAL = "{desc}{n_fmt} {unit}, {elapsed} passed"


def progress(iterable=None, desc=None, unit="it", **options):
    """tqdm(iterable, desc=..., unit=..., ...), which without a terminal writes plain lines, few of them.

    Its output is stderr. `options` are tqdm's own, such as total, initial and unit_scale. A bar that one updates by
    hand is closed with `with` or close().
    """
    desc = f"{desc}: " if desc else ""
    if not _is_terminal(sys.stderr):
        known = options.get("total") is not None or hasattr(iterable, "__len__")
        options.update(
            file=_Lines(sys.stderr),
            bar_format=_LINE if known else _LINE_WITHOUT_TOTAL,
            mininterval=INTERVAL,
            delay=INTERVAL,
            miniters=1,
            leave=False,
        )
    return tqdm(iterable, desc=desc, unit=unit, **options)


def _is_terminal(stream):
    return getattr(stream, "isatty", lambda: False)()


class _Lines:
    """A stream that makes a line of each state of tqdm's bar, where tqdm would write over the last one."""

    def __init__(self, stream):
        self.stream = stream

    def write(self, text):
        text = text.replace("\x1b[A", "").strip()  # the way up to the line of an outer bar
        if text:
            self.stream.write(text + "\n")

    def flush(self):
        self.stream.flush()
