"""All processes of a contender are weighed, and stopped with it."""

import os
import sys
import time
from pathlib import Path

import psutil
import pytest

from benchmarks.serving.processes import ProcessTree, process_tree

# An orphaned daemon in a session of its own, which ignores SIGTERM.
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


def wait_for_log(tree: ProcessTree, word: str) -> None:
    """Waits until the log holds the word."""
    end = time.monotonic() + 60
    while word not in tree.log.read_text() and time.monotonic() < end:
        time.sleep(0.02)


def test_a_daemon_is_weighed_and_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.serving.processes.GRACE", 1.0)
    command = [sys.executable, "-c", DAEMON]
    # Fixtures of other tests may have started servers.
    before = psutil.Process().children(recursive=True)
    with process_tree(command, tmp_path, os.environ, tmp_path / "log") as started:
        wait_for_log(started, "here")
        processes = started.processes
        assert len(processes) == 2
        assert 64 <= started.pss() < 128
    assert [process for process in processes if process.is_running()] == []
    assert set(psutil.Process().children(recursive=True)) <= set(before)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("print('first'); print('no such port')", "no such port"),
        ("raise OSError('no such file')\n", "OSError: no such file"),
        ("print('ValueError: the cause\\nHaltServer: it follows'); exit(1)", "ValueError: the cause"),
        ("", "it wrote nothing"),
    ],
    ids=["last line", "traceback", "cause", "nothing"],
)
def test_the_reason_of_an_exit_is_read_from_the_log(tmp_path: Path, code: str, reason: str) -> None:
    with process_tree([sys.executable, "-c", code], tmp_path, os.environ, tmp_path / "log") as started:
        started.root.wait(60)
        assert started.has_exited()
        assert started.reason() == reason
        assert started.processes == []


def test_a_second_tree_is_weighed_with_the_first_and_stopped_alone(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import time; print('here', flush=True); time.sleep(600)"]
    with process_tree(command, tmp_path, os.environ, tmp_path / "one") as first:
        with process_tree(command, tmp_path, os.environ, tmp_path / "two") as second:
            wait_for_log(first, "here")
            wait_for_log(second, "here")
            assert {process.pid for process in second.processes} == {second.root.pid}
            assert {process.pid for process in first.processes} == {first.root.pid, second.root.pid}
        assert second.has_exited()
        assert not first.has_exited()
