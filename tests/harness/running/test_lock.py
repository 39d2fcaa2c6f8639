import errno
import fcntl
import json
import os
import signal
import subprocess
import sys

import pytest

from harness.running import lock
from harness.running.lock import NAME, Locked, locked
from tests.conftest import REPOSITORY

HOLD = """
import os, sys, time
from harness.running.lock import locked
with locked(sys.argv[1]):
    if sys.argv[3:] and os.fork() == 0:
        time.sleep(60)
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def hold(folder, seconds, *fork):
    """A process that holds the folder, with a child if `fork` is anything; both are in a session of their own."""
    command = [sys.executable, "-c", HOLD, *map(str, (folder, seconds, *fork))]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout.readline() == "held\n"
    return process


@pytest.fixture
def holder(tmp_path):
    """A process that holds tmp_path / run."""
    process = hold(tmp_path / "run", 60)
    yield process
    process.kill()
    process.wait()


def test_a_living_holder_is_named(holder, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(Locked) as error:
        locked(folder).__enter__()
    for sentence in (str(error.value), lock.holder(folder)):
        assert sentence.startswith(f"{folder} is in use by process {holder.pid} on ") and " since 2" in sentence
    assert json.loads((folder / NAME).read_text())["pid"] == holder.pid  # asking leaves it as it was


def test_a_lock_that_is_held_for_a_moment_is_waited_for(tmp_path):
    with hold(tmp_path, 0.05), locked(tmp_path):
        pass


def test_a_dead_holder_is_not_waited_for(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert json.loads((tmp_path / "run" / NAME).read_text())["pid"] == holder.pid
    with locked(tmp_path / "run"):
        assert json.loads((tmp_path / "run" / NAME).read_text())["pid"] == os.getpid()
    assert lock.holder(tmp_path / "run") == ""


def test_a_dead_holders_workers_do_not_hold_it(tmp_path):
    process = hold(tmp_path / "run", 60, "fork")
    process.kill()
    process.wait()
    assert lock.holder(tmp_path / "run") == ""
    os.killpg(process.pid, signal.SIGKILL)  # the fork


def test_it_ends_with_the_block_even_by_an_error(tmp_path):
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), locked(tmp_path):
            raise ZeroDivisionError
    assert lock.holder(tmp_path) == ""
    assert lock.holder(tmp_path / "nothing") == ""
    assert not (tmp_path / "nothing").exists()


def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch, capsys):
    def refuse(file, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with locked(tmp_path):
        assert "without locks" in capsys.readouterr().out
