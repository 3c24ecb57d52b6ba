"""Start, drain window, stop and kill: /readyz is right at all times, and accepted requests are answered."""

import os
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
import requests

from tests.serving.bundles import COLOURS, one_colour_png
from tests.serving.server.test_overload import SLOW
from tests.serving.servers import TIMEOUT, Server, await_true, publish, running
from tests.serving.wire import ask, head, post, read

RED = one_colour_png(COLOURS["red"])
# Longer than a test takes.
LONG = int(4 * TIMEOUT)


def test_readiness_shows_the_golden_images(server: Server) -> None:
    answer = server.get("/readyz").json()
    assert answer["status"] == "ready"
    assert answer["golden_images"] == len(COLOURS)
    assert 0 < answer["difference"] <= answer["tolerance"] == 0.005


def test_sigterm_drains(tmp_path: Path) -> None:
    with running(publish(tmp_path), drain=LONG, slots=1) as server, server.connect() as kept:
        kept.sendall(head("GET", "/livez"))
        assert not read(kept).closed
        with ThreadPoolExecutor(4) as pool:
            work = [pool.submit(ask, server, post("/inference", SLOW)) for _ in range(4)]
            time.sleep(0.1)
            server.process.send_signal(signal.SIGTERM)
            # Not ready any more, but other requests are still answered.
            await_true(lambda: ask(server, head("GET", "/readyz")).status == 503)
            assert ask(server, head("GET", "/readyz")).json["code"] == "not_ready"
            assert ask(server, head("GET", "/livez")).status == 200
            # Responses close kept connections.
            kept.sendall(head("GET", "/livez"))
            assert read(kept).closed
            assert ask(server, post("/inference", RED)).status == 200
            assert [done.result().status for done in work] == [200] * 4
        assert server.process.poll() is None
        # A second SIGTERM ends the window.
        assert server.stop() == 0
        with pytest.raises(ConnectionRefusedError):
            server.connect()


def test_drain_window_has_its_length(tmp_path: Path) -> None:
    with running(publish(tmp_path), drain=1) as server:
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began >= 1


def test_work_in_flight_outlives_the_drain_window(tmp_path: Path) -> None:
    with running(publish(tmp_path), drain=0.2, slots=1) as server, ThreadPoolExecutor(6) as pool:
        work = [pool.submit(ask, server, post("/inference", SLOW)) for _ in range(6)]
        time.sleep(0.2)
        assert server.stop() == 0
        assert [done.result().status for done in work] == [200] * 6


def test_idle_connections_do_not_delay_the_stop(tmp_path: Path) -> None:
    with (
        running(publish(tmp_path), keepalive=LONG, head_seconds=LONG, grace=LONG) as server,
        server.connect() as idle,
        server.connect(),
    ):
        idle.sendall(head("GET", "/livez"))
        assert read(idle).status == 200
        assert server.stop() == 0


def test_clients_that_do_not_close_do_not_delay_the_stop(tmp_path: Path) -> None:
    settings = {"module": "tests.serving.lingering", "grace": LONG}
    with running(publish(tmp_path), **settings) as server, ExitStack() as stack:
        for _ in range(20):
            connection = stack.enter_context(server.connect())
            connection.sendall(head("GET", "/livez", "Connection: close"))
            assert read(connection).closed
        assert server.stop() == 0


def test_second_sigterm_ends_the_window(tmp_path: Path) -> None:
    with running(publish(tmp_path), drain=LONG) as server:
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert server.process.poll() is None
        assert server.stop() == 0


def test_worker_ignores_sigterm_during_the_window(tmp_path: Path) -> None:
    # systemd by default signals all processes.
    with running(publish(tmp_path), drain=LONG) as server:
        worker = server.worker.pid
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        os.kill(worker, signal.SIGTERM)
        time.sleep(0.3)
        assert server.worker.pid == worker
        assert ask(server, post("/inference", RED)).status == 200
        assert server.stop() == 0


def test_killed_worker_is_replaced_and_readiness_is_right(tmp_path: Path) -> None:
    with running(publish(tmp_path)) as server:
        first = server.worker.pid
        os.kill(first, signal.SIGKILL)
        seen: Counter[str] = Counter()
        end = time.monotonic() + TIMEOUT
        while time.monotonic() < end:
            try:
                ready = requests.get(server.url + "/readyz", timeout=TIMEOUT).status_code == 200
                # After "ready" the next request succeeds.
                answer = requests.post(server.url + "/inference", data=RED, timeout=TIMEOUT)
                assert ready
                assert max(answer.json(), key=answer.json().get) == "red"
                seen["answered"] += 1
            except requests.ConnectionError:
                seen["refused"] += 1
            if seen["answered"] == 20:
                break
        assert seen["answered"] == 20
        assert server.worker.pid != first
        assert not psutil.pid_exists(first)
        assert any("SIGKILL" in line["message"] for line in server.log())


def test_no_control_socket_is_left_anywhere(server: Server) -> None:
    for process in (psutil.Process(server.process.pid), server.worker):
        listening = [c for c in process.net_connections("all") if c.status == psutil.CONN_LISTEN]
        assert {connection.laddr.port for connection in listening} <= {server.port}
        unix = [c for c in process.net_connections("unix") if c.laddr]
        assert unix == []


def test_heartbeat_is_in_memory(server: Server) -> None:
    links = [str(link.readlink()) for link in Path(f"/proc/{server.process.pid}/fd").iterdir()]
    heartbeats = [link for link in links if "wgunicorn" in link]
    assert heartbeats
    assert all(link.startswith("/dev/shm/") for link in heartbeats)  # noqa: S108


def test_one_process_answers(server: Server) -> None:
    assert len(psutil.Process(server.process.pid).children(recursive=True)) == 1


def test_master_imports_the_libraries_and_starts_no_thread(server: Server) -> None:
    # Workers share their memory. A thread would not survive the fork.
    for pid in (server.process.pid, server.worker.pid):
        assert "onnxruntime" in Path(f"/proc/{pid}/maps").read_text()
    assert psutil.Process(server.process.pid).num_threads() == 1
