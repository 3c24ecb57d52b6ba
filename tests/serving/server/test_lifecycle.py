"""Starting, draining, being killed: readiness never lies, and what was let in is answered."""

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
from tests.serving.servers import PATIENCE, Server, publish, running
from tests.serving.wire import ask, head, post, read

RED = one_colour_png(COLOURS["red"])
DRAIN = 1.5


def test_readiness_is_proved(server: Server) -> None:
    answer = server.get("/readyz").json()
    assert answer["status"] == "ready"
    assert answer["golden_images"] == len(COLOURS)
    assert 0 < answer["difference"] <= answer["tolerance"] == 0.005


def test_sigterm_drains(tmp_path: Path) -> None:
    with running(publish(tmp_path), drain=DRAIN, slots=1) as server, server.connect() as kept:
        kept.sendall(head("GET", "/livez"))
        assert not read(kept).closed
        with ThreadPoolExecutor(4) as pool:
            work = [pool.submit(ask, server, post("/inference", SLOW)) for _ in range(4)]
            time.sleep(0.1)
            told = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            # Not ready any more, and yet there for whoever has not heard of it.
            assert (answer := ask(server, head("GET", "/readyz"))).status == 503
            assert answer.json["code"] == "not_ready"
            assert ask(server, head("GET", "/livez")).status == 200
            # Kept connections are asked to go.
            kept.sendall(head("GET", "/livez"))
            assert read(kept).closed
            assert ask(server, post("/inference", RED)).status == 200
            assert [done.result().status for done in work] == [200] * 4
        assert server.process.wait(PATIENCE) == 0
        assert DRAIN <= time.monotonic() - told < DRAIN + 5
        with pytest.raises(ConnectionRefusedError):
            server.connect()


def test_work_in_flight_outlives_the_drain_window(tmp_path: Path) -> None:
    with running(publish(tmp_path), drain=0.2, slots=1) as server, ThreadPoolExecutor(6) as pool:
        work = [pool.submit(ask, server, post("/inference", SLOW)) for _ in range(6)]
        time.sleep(0.2)
        assert server.stop() == 0
        assert [done.result().status for done in work] == [200] * 6


def test_idle_connections_do_not_hold_up_the_end(tmp_path: Path) -> None:
    with (
        running(publish(tmp_path), keepalive=60, head_seconds=60) as server,
        server.connect() as idle,
        server.connect(),
    ):
        idle.sendall(head("GET", "/livez"))
        assert read(idle).status == 200
        told = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - told < 5


def test_clients_that_do_not_hang_up_do_not_hold_up_the_end(tmp_path: Path) -> None:
    with running(publish(tmp_path)) as server, ExitStack() as stack:
        for _ in range(20):
            connection = stack.enter_context(server.connect())
            connection.sendall(head("GET", "/livez", "Connection: close"))
            assert read(connection).closed
        told = time.monotonic()
        assert server.stop() == 0
        # They would be lingered over for five seconds.
        assert time.monotonic() - told < 4


def test_asking_twice_ends_the_window(tmp_path: Path) -> None:
    with running(publish(tmp_path), drain=60) as server:
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert server.process.poll() is None
        assert server.stop() == 0


def test_worker_waits_for_the_window_too_when_everybody_is_signalled(tmp_path: Path) -> None:
    # As systemd does by default.
    with running(publish(tmp_path), drain=DRAIN) as server:
        worker = server.worker.pid
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        os.kill(worker, signal.SIGTERM)
        time.sleep(0.3)
        assert server.worker.pid == worker
        assert ask(server, post("/inference", RED)).status == 200
        assert server.process.wait(PATIENCE) == 0


def test_killed_worker_is_replaced_and_readiness_does_not_lie(tmp_path: Path) -> None:
    with running(publish(tmp_path)) as server:
        first = server.worker.pid
        os.kill(first, signal.SIGKILL)
        seen: Counter[str] = Counter()
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                ready = requests.get(server.url + "/readyz", timeout=PATIENCE).status_code == 200
                # Whoever is told "ready" is answered rightly at once.
                answer = requests.post(server.url + "/inference", data=RED, timeout=PATIENCE)
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


def test_master_does_not_load_the_model(server: Server) -> None:
    # The worker loads it after the fork; an engine's threads would not survive one.
    maps = Path(f"/proc/{server.process.pid}/maps").read_text()
    assert "onnxruntime" not in maps
    assert "onnxruntime" in Path(f"/proc/{server.worker.pid}/maps").read_text()
