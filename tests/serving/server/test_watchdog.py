"""A request that holds a slot for ever: the worker is replaced, and every client gets a response."""

import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

import pytest

from serving.server.watchdog import (
    MIN_STUCK_SECONDS,
    STUCK_DEADLINES,
    UNREADY_DEADLINES,
    Watchdog,
    stuck_seconds,
)
from tests.serving.bundles import COLOURS, one_colour_png
from tests.serving.server.test_overload import gauge
from tests.serving.servers import TIMEOUT, Server, publish, running
from tests.serving.wire import RawResponse, ask, head, post, read

RED, TRAP = one_colour_png(COLOURS["red"]), one_colour_png((1, 0, 255))
DEADLINE = 1.0


@pytest.fixture(scope="module")
def trapped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with two slots, in which the prediction for one image never ends."""
    folder = publish(tmp_path_factory.mktemp("trapped"))
    with running(
        folder, module="tests.serving.hanging", slots=2, deadline=DEADLINE, grace=int(4 * TIMEOUT)
    ) as started:
        yield started


def ready(server: Server) -> RawResponse | None:
    """The response of /readyz, if there is one."""
    with suppress(OSError):
        return ask(server, head("GET", "/readyz"))
    return None


def watch_readiness(server: Server, worker: int) -> "list[RawResponse]":
    """The responses of /readyz until another worker is ready."""
    responses: list[RawResponse] = []
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        if answer := ready(server):
            responses.append(answer)
            with suppress(ValueError):
                if answer.status == 200 and server.worker.pid != worker:
                    return responses
        time.sleep(0.05)
    raise AssertionError((server.folder / "log").read_text())


def test_one_slot_is_held(trapped: Server) -> None:
    worker, began = trapped.worker.pid, time.monotonic()
    with ThreadPoolExecutor(2) as pool, trapped.connect() as slow:
        victim: Future[RawResponse] = pool.submit(ask, trapped, post("/inference", TRAP))
        time.sleep(0.2)
        # The other slot is free.
        assert ask(trapped, post("/inference", RED)).status == 200
        # An upload that never ends, with enough bytes for the minimum rate.
        slow.sendall(head("POST", "/inference", "Content-Length: 100000") + bytes(10_000))
        responses = watch_readiness(trapped, worker)
        seconds = time.monotonic() - began
        statuses = [answer.status for answer in responses]
        assert 503 in statuses
        refused = next(answer for answer in responses if answer.status == 503)
        assert refused.json["code"] == "worker_stuck"
        # Once not ready, it stays so until there is another worker.
        assert statuses == [*sorted(statuses[:-1]), 200]
        assert seconds > MIN_STUCK_SECONDS
        # The unfinished requests are refused, also the one that holds the slot.
        for answer in (victim.result(TIMEOUT), read(slow)):
            assert (answer.status, answer.json["code"], answer.closed) == (503, "worker_replaced", True)
            assert answer.headers["retry-after"] == "1"
    assert ask(trapped, post("/inference", RED)).status == 200
    assert (
        gauge(trapped, "goldfish_workers_stuck_total")
        == gauge(trapped, "goldfish_worker_restarts_total")
        == 1
    )
    (line,) = [line for line in trapped.log() if line.get("code") == "worker_stuck" and "route" not in line]
    assert (line["level"], line["seconds"] >= MIN_STUCK_SECONDS) == ("error", True)


def test_all_slots_are_held(trapped: Server) -> None:
    worker = trapped.worker.pid
    stuck, restarts = (
        gauge(trapped, f"goldfish_{name}_total") for name in ("workers_stuck", "worker_restarts")
    )
    with ThreadPoolExecutor(4) as pool:
        victims = [pool.submit(ask, trapped, post("/inference", TRAP)) for _ in range(2)]
        time.sleep(0.2)
        # A request that waits for a slot is refused at its deadline, before the worker is replaced.
        assert ask(trapped, post("/inference", RED)).json["code"] == "deadline_exceeded"
        responses = watch_readiness(trapped, worker)
        assert "worker_stuck" in {answer.json.get("code") for answer in responses}
        assert {victim.result(TIMEOUT).json["code"] for victim in victims} == {"worker_replaced"}
    assert gauge(trapped, "goldfish_workers_stuck_total") == stuck + 1
    assert gauge(trapped, "goldfish_worker_restarts_total") == restarts + 1


def test_graceful_stop_does_not_wait_for_it(trapped: Server) -> None:
    with ThreadPoolExecutor(1) as pool:
        victim = pool.submit(ask, trapped, post("/inference", TRAP))
        time.sleep(0.2)
        trapped.process.send_signal(signal.SIGTERM)
        # Long before the grace period is over.
        assert trapped.process.wait(TIMEOUT) == 0
        assert victim.result(TIMEOUT).json["code"] == "not_ready"


@pytest.mark.parametrize(
    ("held", "unready", "stuck"),
    [([], False, 0), ([1.9, 0.1], False, 0), ([20.1, 0.1], True, 0), ([30.1, 25.0, 31.0], True, 2)],
)
def test_constants(held: list[float], unready: bool, stuck: int) -> None:
    watchdog = Watchdog(lambda: held, 10.0)
    assert (watchdog.unready, watchdog.stuck_slots) == (unready, stuck)
    assert 1 < UNREADY_DEADLINES < STUCK_DEADLINES
    assert stuck_seconds(10.0) == 30.0
    assert stuck_seconds(0.1) == MIN_STUCK_SECONDS
