"""Neither clients nor faults of its own end the worker's event loop or keep it busy."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.serving.servers import Server, await_true, publish, running
from tests.serving.wire import ask, head

LIVEZ = head("GET", "/livez")
# Above this number connections are evicted: 300 descriptors without the reserved ones.
DESCRIPTORS, LIMIT = 300, 150


def test_event_of_a_connection_that_was_closed_in_the_same_round_is_passed_over(tmp_path: Path) -> None:
    with running(publish(tmp_path), descriptors=DESCRIPTORS) as server, ExitStack() as stack:
        worker = server.worker
        for part in (b"G", b"x", LIVEZ):
            old = [stack.enter_context(server.connect()) for _ in range(LIMIT)]
            time.sleep(0.2)
            # While it is suspended more connect, which evicts old ones, and all of these send something.
            worker.suspend()
            for _ in range(20):
                stack.enter_context(server.connect())
            for connection in old:
                with suppress(OSError):
                    connection.sendall(part)
            worker.resume()
            time.sleep(0.2)
            assert ask(server, LIVEZ).status == 200
        assert server.worker.pid == worker.pid
        assert [line for line in server.log() if line["level"] != "info"] == []


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose event loop fails in the step that a path names."""
    folder = publish(tmp_path_factory.mktemp("failing"))
    settings = {"module": "tests.serving.failing", "head_seconds": 0.5, "keepalive": 1}
    with running(folder, **settings) as started:
        yield started


# When it fails, and what is sent.
FAULTS = {
    "a request begins": head("GET", "/faildispatch"),
    "a request ends": head("GET", "/latercomplete_request"),
    "the answer was sent": head("GET", "/latercontinue_connection"),
    "a head is too slow": b"GET /failrefuse_slow_head",
    "an idle connection is closed": head("GET", "/laterclose_if_silent"),
    "a closed connection lingers": head("GET", "/laterdiscard_input", "Connection: close"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_failure_costs_one_connection(failing: Server, name: str) -> None:
    worker, before = failing.worker, len(failures(failing))
    with failing.connect() as connection:
        connection.sendall(FAULTS[name])
        time.sleep(0.05)
        with suppress(OSError):
            connection.sendall(b"x" if "linger" in name else b"")
            while connection.recv(65536):
                pass
    assert ask(failing, LIVEZ).status == 200
    assert failing.worker.pid == worker.pid
    (line,) = failures(failing)[before:]
    assert "RuntimeError" in line["trace"]


def failures(server: Server) -> list[dict[str, str]]:
    """The lines of the log about steps that failed."""
    return [line for line in server.log() if line.get("code") == "loop_failed"]


def test_loop_that_always_fails_does_not_spin_and_ends(tmp_path: Path) -> None:
    # Each round fails and pauses; then the worker ends, and the master starts another one.
    settings = {"module": "tests.serving.failing", "FAILING": "close_overdue"}
    with running(publish(tmp_path), **settings) as server:
        first = server.worker
        assert ask(server, LIVEZ).status == 200
        await_true(lambda: not first.is_running())
        assert len(failures(server)) < 60
        assert ask(server, LIVEZ).status == 200
