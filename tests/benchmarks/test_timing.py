import os

from benchmarks.timing import in_fresh_process, interleaved


def test_a_fresh_process_is_another_one():
    assert in_fresh_process(os.getpid) != os.getpid()


def test_ways_run_in_turns():
    calls = []
    ways = {"a": lambda: calls.append("a"), "b": (lambda: calls.append("before b "), lambda: calls.append("b"))}
    seconds = interleaved(ways, 3, "cpu")
    assert "".join(calls) == "abefore b b" * 5  # two rounds to warm up
    assert set(seconds) == {"a", "b"} and min(min(taken) for taken in seconds.values()) >= 0
