"""A graceful stop answers every accepted request, and later clients are refused at once."""

import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from benchmarks.stops import CLIENTS, kills, stop
from tests.serving.bundles import COLOURS, one_colour_png
from tests.serving.server.test_overload import SLOW, gauge
from tests.serving.servers import TIMEOUT, Server, await_true, publish, running
from tests.serving.wire import ask, head, post, read

RED = one_colour_png(COLOURS["red"])
# Longer than a stop may take that does not wait for them.
LONG = int(4 * TIMEOUT)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a pinned bundle."""
    return publish(tmp_path_factory.mktemp("stops"))


@pytest.mark.parametrize("kept", [True, False], ids=["kept connections", "a connection each"])
@pytest.mark.parametrize("drain", [0, 0.2])
def test_no_request_is_lost(folder: Path, kept: bool, drain: float) -> None:
    seen = stop(folder, [kept] * CLIENTS, drain)
    assert seen["answered"] > CLIENTS
    assert (seen["lost"], seen["how"]) == (0, [])


def test_of_a_kill_only_what_was_in_flight_is_lost(folder: Path) -> None:
    seen = kills(folder, 2, [True, False] * (CLIENTS // 2))
    assert seen["not_in_flight"] == 0, seen["how"]
    assert seen["answered"] > CLIENTS


def is_refused(server: Server) -> bool:
    """Whether the server does not listen any more."""
    try:
        server.connect().close()
    except ConnectionRefusedError:
        return True
    return False


def begin_upload(connection: socket.socket) -> None:
    """Sends a request without the last ten bytes of its body, which the server then reads."""
    expect = "Expect: 100-continue"
    connection.sendall(head("POST", "/inference", f"Content-Length: {len(RED)}", expect))
    assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.sendall(RED[:-10])


def test_later_clients_are_refused_while_a_slow_upload_is_answered(folder: Path) -> None:
    with running(folder, grace=LONG, body_seconds=LONG) as server, server.connect() as slow:
        begin_upload(slow)
        server.process.send_signal(signal.SIGTERM)
        await_true(lambda: is_refused(server))
        slow.sendall(RED[-10:])
        answer = read(slow)
        assert (answer.status, answer.closed) == (200, True)
        assert server.process.wait(TIMEOUT) == 0


def test_unfinished_request_is_refused_after_the_grace_period(folder: Path) -> None:
    with running(folder, grace=1, body_seconds=LONG) as server, server.connect() as slow:
        begin_upload(slow)
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began >= 1
        answer = read(slow)
        assert (answer.status, answer.json["code"], answer.closed) == (503, "not_ready", True)


def test_connected_before_the_signal_and_sent_after_it(folder: Path) -> None:
    with running(folder) as server, server.connect() as fresh, server.connect() as kept:
        kept.sendall(head("GET", "/livez"))
        assert not read(kept).closed
        # Suspended until it has been signalled and the requests have been sent.
        worker = server.worker
        worker.suspend()
        server.process.send_signal(signal.SIGTERM)
        await_true(lambda: has_pending(worker.pid, signal.SIGTERM))
        for connection in (fresh, kept):
            connection.sendall(post("/inference", RED))
        worker.resume()
        for connection in (fresh, kept):
            answer = read(connection)
            assert (answer.status, answer.closed) == (200, True)
        assert server.process.wait(TIMEOUT) == 0


def has_pending(pid: int, number: int) -> bool:
    """Whether a signal has been sent to a suspended process."""
    status = Path(f"/proc/{pid}/status").read_text()
    (mask,) = re.findall(r"ShdPnd:\s+([0-9a-f]+)", status)
    return bool(int(mask, 16) & 1 << number - 1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_immediate_stop_refuses_unfinished_requests(folder: Path, number: int) -> None:
    settings = {"slots": 1, "grace": LONG, "body_seconds": LONG}
    with running(folder, **settings) as server, ThreadPoolExecutor(4) as pool, server.connect() as slow:
        begin_upload(slow)
        work = [pool.submit(ask, server, post("/inference", SLOW)) for _ in range(4)]
        await_true(lambda: gauge(server, "goldfish_slots_busy") == 1)
        server.process.send_signal(number)
        assert server.process.wait(TIMEOUT) == 0
        answers = [done.result() for done in work]
        assert {answer.status for answer in answers} <= {200, 503}
        refused = [answer for answer in [*answers, read(slow)] if answer.status == 503]
        assert {answer.json["code"] for answer in refused} == {"not_ready"}


@pytest.fixture(scope="module")
def signalled(folder: Path) -> Iterator[Server]:
    """A server for signals that do not stop it."""
    with running(folder) as started:
        yield started


IGNORED = [signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU, signal.SIGWINCH]


@pytest.mark.parametrize("number", IGNORED)
def test_signal_is_ignored(signalled: Server, number: signal.Signals) -> None:
    worker = signalled.worker.pid
    for pid in (signalled.process.pid, worker) * 2:
        os.kill(pid, number)
        time.sleep(0.1)
    # No second worker, no second master.
    assert [child.pid for child in psutil.Process(signalled.process.pid).children(recursive=True)] == [worker]
    assert signalled.get("/readyz").ok
    lines = [line for line in signalled.log() if line.get("code") == "signal_ignored"]
    # One line, however often it is sent.
    assert [line["signal"] for line in lines].count(number.name) == 1


@pytest.mark.parametrize("to_the_worker", [False, True])
def test_hang_up_ends_nothing(signalled: Server, to_the_worker: bool) -> None:
    """It asks for a look at the pins; a terminal that is closed sends it to all processes."""
    worker = signalled.worker.pid
    os.kill(worker if to_the_worker else signalled.process.pid, signal.SIGHUP)
    time.sleep(0.3)
    assert ask(signalled, post("/inference", RED)).status == 200
    assert signalled.worker.pid == worker


def test_a_worker_that_is_ended_is_replaced_and_loses_no_request(signalled: Server) -> None:
    worker = signalled.worker.pid
    with ThreadPoolExecutor(4) as pool:
        work = [pool.submit(ask, signalled, post("/inference", SLOW)) for _ in range(4)]
        time.sleep(0.1)
        os.kill(worker, signal.SIGTERM)
        time.sleep(0.1)
        # New clients wait for the next worker.
        later = [pool.submit(ask, signalled, post("/inference", RED)) for _ in range(4)]
        assert [done.result().status for done in [*work, *later]] == [200] * 8
    assert signalled.worker.pid != worker
