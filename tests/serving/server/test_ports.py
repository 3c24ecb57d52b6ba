"""Ports and addresses: metrics on a port of their own, and the health check command."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.repo.imports import ROOT
from tests.serving.bundles import COLOURS, one_colour_png
from tests.serving.servers import TIMEOUT, Server, await_ready, free_port, publish, running, start_server
from tests.serving.wire import ask, head

RED = one_colour_png(COLOURS["red"])


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    """The same server at its port and at its metrics port."""
    folder, port = publish(tmp_path_factory.mktemp("apart")), free_port()
    with running(folder, metrics_port=port) as started:
        yield started, Server(started.process, port, folder)


def test_metrics_are_at_their_port_only(apart: tuple[Server, Server]) -> None:
    everything, figures = apart
    assert everything.post("/inference", data=RED).ok
    for path in ("/metrics", "/metrics?x=y"):
        assert everything.get(path).json()["code"] == "route_unknown"
        assert 'goldfish_requests_total{route="/inference",status="200"}' in figures.get(path).text
    for path in ("/livez", "/readyz"):
        assert everything.get(path).ok
        assert figures.get(path).ok
    assert "/metrics" not in everything.get("/openapi.json").json()["paths"]


@pytest.mark.parametrize(
    "path",
    ["/", "/docs", "/openapi.json", "/version", "/model", "/inference", "/v2", "/ping", "/static/page.js"],
)
def test_metrics_port_has_no_other_route(apart: tuple[Server, Server], path: str) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        answer = requests.request(method, apart[1].url + path, data=RED, timeout=TIMEOUT)
        assert (answer.status_code, answer.json()["code"]) == (404, "route_unknown")


def test_no_header_leads_from_one_port_to_the_other(apart: tuple[Server, Server]) -> None:
    everything, figures = apart
    for line in (
        f"X-Forwarded-Port: {figures.port}",
        f"X-Forwarded-Host: 127.0.0.1:{figures.port}",
        f"Forwarded: host=127.0.0.1:{figures.port}",
    ):
        assert ask(everything, head("GET", "/metrics", line)).status == 404
    request = f"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:{figures.port}\r\n\r\n"
    assert ask(everything, request.encode()).status == 404
    absolute = f"GET http://127.0.0.1:{figures.port}/metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    assert ask(everything, absolute.encode()).status in (400, 404)


def test_new_worker_listens_on_both(apart: tuple[Server, Server]) -> None:
    everything, figures = apart
    everything.worker.kill()
    time.sleep(0.1)
    await_ready(everything)
    assert requests.get(f"{figures.url}/metrics", timeout=TIMEOUT).ok


def test_taken_port_is_reported_in_one_sentence(apart: tuple[Server, Server], tmp_path: Path) -> None:
    process = start_server(publish(tmp_path), port=free_port(), metrics_port=apart[1].port)
    assert process.wait(TIMEOUT) == 1
    output = (tmp_path / "log").read_text()
    assert output.count("\n") == 1
    assert f"Cannot listen at 127.0.0.1:{apart[1].port} (Address already in use): set another" in output
    assert "GOLDFISH_METRICS_PORT" in output


def health(**settings: str) -> tuple[int, str]:
    """The exit code and the output of the health check."""
    ours = {name: text for name, text in os.environ.items() if not name.startswith(("GOLDFISH_", "AIP_"))}
    done = subprocess.run(
        [sys.executable, "-m", "serving.health"],
        env=ours | {"PYTHONPATH": str(ROOT)} | settings,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
    )
    return done.returncode, done.stdout + done.stderr


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


IPV6 = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
HOSTS = [
    "127.0.0.1", "0.0.0.0", "localhost",  # noqa: S104  (only loopback is used)
    pytest.param("::1", marks=IPV6), pytest.param("[::1]", marks=IPV6), pytest.param("::", marks=IPV6),
]  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
def test_health_check_finds_the_server(tmp_path: Path, host: str) -> None:
    port = free_port()
    process = start_server(publish(tmp_path), host=host, port=port, prefix="/vision", drain=0)
    try:
        end = time.monotonic() + TIMEOUT
        environment = {"GOLDFISH_HOST": host, "PORT": str(port), "GOLDFISH_PREFIX": "/vision"}
        while health(**environment) != (0, "") and time.monotonic() < end:
            assert process.poll() is None, (tmp_path / "log").read_text()
        assert health(**environment) == (0, "")
        # Vertex AI's port takes precedence, and invalid other settings do not matter.
        assert health(
            GOLDFISH_HOST=host,
            PORT="1",
            AIP_HTTP_PORT=str(port),
            GOLDFISH_API_KEYS_FILE="gone",
            GOLDFISH_SLOTS="x",
        ) == (0, "")
    finally:
        process.terminate()
        process.wait(TIMEOUT)


@pytest.mark.parametrize("host", ["127.0.0.1", "no.such.host.invalid", "a" * 70 + ".example", "..", "x y"])
def test_health_check_without_a_server(host: str) -> None:
    assert health(GOLDFISH_HOST=host, PORT=str(free_port())) == (1, "")


def test_health_check_reports_an_invalid_port() -> None:
    code, output = health(PORT="http")
    assert code == 1
    assert output.startswith("The environment cannot be used: PORT is 'http'")
