"""Limits of the proxy, and its errors."""

import socket
from contextlib import ExitStack

import psutil
import pytest

from tests.deploy.composition.client import RED, check_problem, client, from_nginx, request
from tests.deploy.composition.processes import Composition
from tests.serving.wire import head, read

MIB = 2**20


def test_bodies_that_are_too_large(stack: Composition) -> None:
    with client() as session:
        refused, refused_at_once, taken = (
            session.post(stack.url + "/predict", data, timeout=120)
            for data in (bytes(24 * MIB + 1), bytes(25 * MIB + 1), RED)
        )
    check_problem(refused, 413, "body_too_large")
    assert not from_nginx(refused)
    check_problem(refused_at_once, 413, "body_too_large")
    assert from_nginx(refused_at_once)
    assert taken.ok


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        (b"NONSENSE\r\n\r\n", 400, "request_malformed"),
        (head("TRACE", "/"), 405, "method_not_allowed"),
        (head("GET", "/" + "x" * 20_000), 414, "request_line_too_long"),
        (head("GET", "/", "X-Long: " + "x" * 20_000), 431, "head_too_large"),
        (head("POST", "/predict", "Transfer-Encoding: gzip"), 501, "coding_unknown"),
    ],
    ids=["no HTTP", "TRACE", "long line", "large head", "coding"],
)
def test_what_is_refused_at_once(stack: Composition, request_: bytes, status: int, code: str) -> None:
    with socket.create_connection(("127.0.0.1", stack.ports["proxy"]), 10) as connection:
        connection.sendall(request_)
        answer = read(connection)
    assert (answer.status, answer.json["code"], answer.json["status"]) == (status, code, status)
    assert answer.headers["content-type"] == "application/problem+json"


def start_upload(stack: Composition, address: str) -> socket.socket:
    """A connection with a complete request head, whose body has not been sent."""
    connection = socket.create_connection(("127.0.0.1", stack.ports["proxy"]), 10, (address, 0))
    connection.sendall(head("POST", "/predict", f"Content-Length: {len(RED)}", "Expect: 100-continue"))
    assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
    return connection


def test_slow_bodies_cost_the_server_nothing(stack: Composition) -> None:
    with start_upload(stack, "127.0.0.5") as connection:
        connection.sendall(RED[:10])
        # nginx answers this request itself, after it has read the earlier bytes.
        assert request(stack.url + "/metrics").status_code == 404
        (worker,) = psutil.Process(stack.processes["proxy"].pid).children()
        peers = [open_one.raddr.port for open_one in worker.net_connections("tcp") if open_one.raddr]
        assert connection.getsockname()[1] in peers
        assert stack.ports["model"] not in peers
        connection.sendall(RED[10:])
        assert read(connection).status == 200


def test_one_client_cannot_take_all_connections(stack: Composition) -> None:
    with ExitStack() as connections:
        for _ in range(16):
            connections.enter_context(start_upload(stack, "127.0.0.6"))
        one_more = request(stack.url + "/livez", address="127.0.0.6")
        check_problem(one_more, 429, "rate_limited")
        assert one_more.headers["Retry-After"] == "1"
        assert request(stack.url + "/livez", address="127.0.0.7").ok
