import io
import re
import sys

import pytest
import tqdm.std

from dassl.utils import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that runs by hand: clock(seconds)."""
    now = [1000.0]

    def move(seconds):
        now[0] += seconds

    monkeypatch.setattr(tqdm.std, "time", lambda: now[0])
    monkeypatch.setattr(tqdm.tqdm, "monitor_interval", 0)
    return move


@pytest.mark.parametrize(
    ("n", "seconds", "lines"), [(900, 0.01, 0), (3500, 0.01, 3), (1000, 0.1, 9), (6, 7, 4), (3, 100, 3)]
)
def test_a_log_gets_at_most_a_line_every_ten_seconds(monkeypatch, clock, n, seconds, lines):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    for _ in progress(range(n), "Drawing", "picture"):
        clock(seconds)
    log = sys.stderr.getvalue()
    assert abs(log.count("\n") - lines) <= 1 and log.count("\n") * 10 <= n * seconds
    assert "\r" not in log and "\x1b" not in log
    for line in log.splitlines():
        assert re.fullmatch(rf"Drawing: \d+ of {n} picture, \d\d:\d\d passed, about \d\d:\d\d left", line)


def test_a_terminal_gets_a_bar(monkeypatch, clock):
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert list(progress(range(3), "Drawing", "picture")) == [0, 1, 2]
    assert "\rDrawing: 100%|" in sys.stderr.getvalue() and "3/3" in sys.stderr.getvalue()
