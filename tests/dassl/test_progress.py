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


def log_of(monkeypatch, clock, n, seconds, **options):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    for _ in progress(options.pop("iterable", range(n)), "Drawing", "picture", **options):
        clock(seconds)
    return sys.stderr.getvalue()


def test_short_work_says_nothing_in_a_log(monkeypatch, clock):
    assert log_of(monkeypatch, clock, 900, 0.01) == ""


@pytest.mark.parametrize(("n", "seconds", "lines"), [(3500, 0.01, 3), (1000, 0.1, 9), (6, 7, 4), (3, 100, 3)])
def test_a_log_gets_at_most_a_line_every_ten_seconds(monkeypatch, clock, n, seconds, lines):
    log = log_of(monkeypatch, clock, n, seconds)
    assert abs(log.count("\n") - lines) <= 1 and log.count("\n") * 10 <= n * seconds
    assert "\r" not in log and "\x1b" not in log and log.endswith("\n") and "\n\n" not in log


def test_what_a_line_says(monkeypatch, clock):
    log = log_of(monkeypatch, clock, 250, 0.1)
    lines = [f"Drawing: {n}00 of 250 picture, 00:{n}0 passed, about 00:.. left" for n in (1, 2)]
    assert re.fullmatch("\n".join(lines) + "\n", log)
    log = log_of(monkeypatch, clock, 0, 0.1, iterable=(i for i in range(150)))
    assert re.fullmatch(r"Drawing: 10[01] picture, 00:10 passed\n", log)


def test_by_hand(monkeypatch, clock):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with progress(desc="a.zip", total=5_000_000, initial=1_000_000, unit="B", unit_scale=True) as bar:
        for _ in range(4):
            clock(6)
            bar.update(1_000_000)
    first, second = sys.stderr.getvalue().splitlines()
    assert first.startswith("a.zip: 3.00M of 5.00M B, 00:12 passed, about ")
    assert second == "a.zip: 5.00M of 5.00M B, 00:24 passed, about 00:00 left"


def test_a_terminal_gets_a_bar(monkeypatch, clock):
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert list(progress(range(3), "Drawing", "picture")) == [0, 1, 2]
    assert "\rDrawing: 100%|" in sys.stderr.getvalue() and "3/3" in sys.stderr.getvalue()


def test_bars_are_made_in_one_place():
    from tests.conftest import REPOSITORY

    for folder in ("dassl", "datasets"):
        for path in (REPOSITORY / folder).glob("**/*.py"):
            assert path.name == "progress.py" or "import tqdm" not in path.read_text(), path
