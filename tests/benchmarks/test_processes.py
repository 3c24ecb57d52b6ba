"""Whatever a contender has started is weighed with it, and ends with it."""

import os
import sys
import time
from pathlib import Path

import psutil
import pytest

from benchmarks.serving.processes import Family, family

# A daemon, in a session of its own, whose parent has gone; it does not end when asked to.
DAEMON = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        ballast = bytearray(os.urandom(64 * 2**20))
        print("here", flush=True)
        time.sleep(600)
    os._exit(0)
os.wait()
time.sleep(600)
"""


def patiently(started: Family, word: str) -> None:
    """Waits until the log says so."""
    end = time.monotonic() + 60
    while word not in started.log.read_text() and time.monotonic() < end:
        time.sleep(0.02)


def test_a_daemon_is_weighed_and_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.serving.processes.GRACE", 1.0)
    command = [sys.executable, "-c", DAEMON]
    # Other tests may have left servers that are still in use.
    before = psutil.Process().children(recursive=True)
    with family(command, tmp_path, os.environ, tmp_path / "log") as started:
        patiently(started, "here")
        members = started.members
        assert len(members) == 2
        assert 64 <= started.pss() < 128
    assert [process for process in members if process.is_running()] == []
    assert set(psutil.Process().children(recursive=True)) <= set(before)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("print('first'); print('no such port')", "no such port"),
        ("raise OSError('no such file')\n", "OSError: no such file"),
        ("print('ValueError: the cause\\nHaltServer: it follows'); exit(1)", "ValueError: the cause"),
        ("", "it wrote nothing"),
    ],
    ids=["last line", "traceback", "cause", "nothing"],
)
def test_what_ended_by_itself_leaves_its_last_words(tmp_path: Path, code: str, words: str) -> None:
    with family([sys.executable, "-c", code], tmp_path, os.environ, tmp_path / "log") as started:
        started.leader.wait(60)
        assert started.ended()
        assert started.last_words() == words
        assert started.members == []


def test_a_second_family_is_weighed_with_the_first_and_ends_alone(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import time; print('here', flush=True); time.sleep(600)"]
    with family(command, tmp_path, os.environ, tmp_path / "one") as first:
        with family(command, tmp_path, os.environ, tmp_path / "two") as second:
            patiently(first, "here")
            patiently(second, "here")
            assert {process.pid for process in second.members} == {second.leader.pid}
            assert {process.pid for process in first.members} == {first.leader.pid, second.leader.pid}
        assert second.ended()
        assert not first.ended()
