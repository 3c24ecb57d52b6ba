"""At a graceful stop nobody is lost who was let in; whoever comes later is refused at once."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from benchmarks.stops import CLIENTS, kills, stop
from tests.serving.bundles import COLOURS, one_colour_png
from tests.serving.server.test_overload import SLOW
from tests.serving.servers import PATIENCE, Server, publish, running
from tests.serving.wire import ask, head, post, read

RED = one_colour_png(COLOURS["red"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a bundle that is pinned."""
    return publish(tmp_path_factory.mktemp("stops"))


@pytest.mark.parametrize("kept", [True, False], ids=["kept connections", "a connection each"])
@pytest.mark.parametrize("drain", [0, 0.2])
def test_nobody_is_lost(folder: Path, kept: bool, drain: float) -> None:
    seen = stop(folder, [kept] * CLIENTS, drain)
    assert seen["answered"] > CLIENTS
    assert (seen["lost"], seen["how"]) == (0, [])


def test_of_a_kill_only_what_was_in_flight_is_lost(folder: Path) -> None:
    seen = kills(folder, 2, [True, False] * (CLIENTS // 2))
    assert seen["not_in_flight"] == 0, seen["how"]
    assert seen["answered"] > CLIENTS


def test_later_clients_are_refused_while_a_slow_upload_is_answered(folder: Path) -> None:
    with running(folder) as server, server.connect() as slow:
        request = post("/inference", RED)
        slow.sendall(request[:-10])
        time.sleep(0.1)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(1.0)
        began = time.monotonic()
        with pytest.raises(ConnectionRefusedError):
            server.connect()
        assert time.monotonic() - began < 0.5
        slow.sendall(request[-10:])
        answer = read(slow)
        assert (answer.status, answer.closed) == (200, True)
        assert server.process.wait(PATIENCE) == 0
        assert time.monotonic() - began < 2


def test_who_is_not_done_within_the_grace_is_told(folder: Path) -> None:
    with running(folder, grace=1) as server, server.connect() as slow:
        slow.sendall(post("/inference", RED)[:-10])
        time.sleep(0.1)
        began = time.monotonic()
        assert server.stop() == 0
        assert 1 <= time.monotonic() - began < 3
        answer = read(slow)
        assert (answer.status, answer.json["code"], answer.closed) == (503, "not_ready", True)


def test_connected_before_the_signal_and_sent_after_it(folder: Path) -> None:
    with running(folder) as server, server.connect() as fresh, server.connect() as kept:
        kept.sendall(head("GET", "/livez"))
        assert not read(kept).closed
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.4)
        for connection in (fresh, kept):
            connection.sendall(post("/inference", RED))
            answer = read(connection)
            assert (answer.status, answer.closed) == (200, True)
        assert server.process.wait(PATIENCE) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_interrupted_it_ends_at_once_and_tells_who_waits(folder: Path, number: int) -> None:
    with running(folder, slots=1) as server, ThreadPoolExecutor(4) as pool, server.connect() as slow:
        slow.sendall(post("/inference", RED)[:-10])
        work = [pool.submit(ask, server, post("/inference", SLOW)) for _ in range(4)]
        time.sleep(0.15)
        began = time.monotonic()
        server.process.send_signal(number)
        assert server.process.wait(PATIENCE) == 0
        assert time.monotonic() - began < 2
        answers = [done.result() for done in work]
        assert {answer.status for answer in answers} <= {200, 503}
        refused = [answer for answer in [*answers, read(slow)] if answer.status == 503]
        assert {answer.json["code"] for answer in refused} == {"not_ready"}


@pytest.fixture(scope="module")
def signalled(folder: Path) -> Iterator[Server]:
    """A server that gets signals which do not end it."""
    with running(folder) as started:
        yield started


IGNORED = [signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU, signal.SIGWINCH]


@pytest.mark.parametrize("number", IGNORED)
def test_signal_that_does_nothing(signalled: Server, number: signal.Signals) -> None:
    worker = signalled.worker.pid
    for pid in (signalled.process.pid, worker) * 2:
        os.kill(pid, number)
        time.sleep(0.1)
    # No second worker, no second master.
    assert [child.pid for child in psutil.Process(signalled.process.pid).children(recursive=True)] == [worker]
    assert signalled.get("/readyz").ok
    lines = [line for line in signalled.log() if line.get("code") == "signal_ignored"]
    # One line, however often it comes.
    assert [line["signal"] for line in lines].count(number.name) == 1


@pytest.mark.parametrize("to_the_worker", [False, True])
def test_hang_up_replaces_the_worker_and_loses_nobody(signalled: Server, to_the_worker: bool) -> None:
    worker = signalled.worker.pid
    with ThreadPoolExecutor(4) as pool:
        work = [pool.submit(ask, signalled, post("/inference", SLOW)) for _ in range(4)]
        time.sleep(0.1)
        os.kill(worker if to_the_worker else signalled.process.pid, signal.SIGHUP)
        time.sleep(0.1)
        # Whoever comes meanwhile waits for the next one.
        later = [pool.submit(ask, signalled, post("/inference", RED)) for _ in range(4)]
        assert [done.result().status for done in [*work, *later]] == [200] * 8
    assert signalled.worker.pid != worker
