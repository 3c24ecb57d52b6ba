"""Resources are shared between clients: one that takes as much as it can does not affect the others.

A client is an address; loopback has many.
"""

import hashlib
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from serving.server.client_socket import RATE_FREE_SECONDS, SEND_SECONDS
from serving.server.connection_lifecycle import MAX_HELD_BYTES
from serving.server.connections import HEAD_BYTES
from tests.serving.bundles import COLOURS, one_colour_png
from tests.serving.server.test_connections import trickle
from tests.serving.server.test_overload import SLOW, gauge
from tests.serving.server.test_ports import IPV6
from tests.serving.servers import TIMEOUT, Server, await_true, publish, running
from tests.serving.wire import RawResponse, assert_responsive, chunked, head, post, read, readable

RED = one_colour_png(COLOURS["red"])
UPLOADS, MEGABYTE = 8, 2**20
ONE_BYTE = head("POST", "/inference", "Content-Length: 1000") + b"x"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with few uploads at once, little memory for bodies, and long deadlines."""
    settings = {
        "uploads": UPLOADS,
        "bodies_mb": 8,
        "max_body_mb": 2,
        "body_seconds": 60,
        "slots": 1,
        "queue": 8,
    }
    with running(publish(tmp_path_factory.mktemp("small")), **settings) as started:
        yield started


def client(server: Server, number: int) -> socket.socket:
    """A connection of the client with a number: 127.0.0.<number>."""
    address = ("127.0.0.1", server.port)
    return socket.create_connection(address, timeout=TIMEOUT, source_address=(f"127.0.0.{number}", 0))


def asked(server: Server, number: int, request: bytes) -> RawResponse:
    """The response to a client, on a connection of its own."""
    with client(server, number) as connection:
        connection.sendall(request)
        return read(connection)


def slowly(server: Server, number: int) -> RawResponse:
    """Sends an image in two parts, so that the server has to wait for the second."""
    request = post("/inference", RED)
    with client(server, number) as connection:
        connection.sendall(request[:-10])
        time.sleep(0.2)
        connection.sendall(request[-10:])
        return read(connection)


@pytest.mark.parametrize("clients", [1, 3])
def test_stalled_bodies_of_some_leave_places_for_others(small: Server, clients: int) -> None:
    with ExitStack() as stack:
        for number in range(10, 10 + clients):
            for _ in range(4 * UPLOADS):
                stack.enter_context(client(small, number)).sendall(ONE_BYTE)
        time.sleep(0.3)
        # A body that has arrived is no upload that waits; other clients get their share of the uploads.
        assert asked(small, 10, post("/inference", RED)).status == 200
        for number in (2, 3):
            assert slowly(small, number).status == 200
        assert_responsive(small)


def test_retry_after_is_how_long_uploads_may_take(small: Server) -> None:
    with ExitStack() as stack:
        for _ in range(UPLOADS):
            stack.enter_context(client(small, 10)).sendall(ONE_BYTE)
        time.sleep(1)
        answer = asked(small, 10, ONE_BYTE)
        assert (answer.status, answer.json["code"]) == (503, "server_busy")
        # An upload may take 60 s in all.
        assert 30 <= int(answer.headers["retry-after"]) <= 60


def test_slowest_upload_of_the_largest_client_is_evicted(small: Server) -> None:
    with ExitStack() as stack:
        slow = stack.enter_context(client(small, 10))
        slow.sendall(ONE_BYTE)
        time.sleep(0.1)
        good = [stack.enter_context(client(small, 10)) for _ in range(UPLOADS - 1)]
        for connection in good:
            connection.sendall(post("/inference", RED)[:-10])
        time.sleep(0.1)
        assert slowly(small, 2).status == 200
        answer = read(slow)
        assert (answer.status, answer.json["code"], answer.closed) == (503, "server_busy", True)
        for connection in good:
            connection.sendall(RED[-10:])
            assert read(connection).status in (200, 503)


def test_body_slower_than_the_least_rate_is_ended(small: Server) -> None:
    with client(small, 10) as connection:
        connection.sendall(ONE_BYTE)
        began = time.monotonic()
        # Within `TIMEOUT`, half of the 60 s that a faster body may take.
        assert trickle(connection, b"x").startswith(b"HTTP/1.1 408")
        assert time.monotonic() - began > RATE_FREE_SECONDS - 1


def test_memory_for_bodies_is_shared(small: Server) -> None:
    part = head("POST", "/inference", "Content-Length: 2000000") + bytes(1_900_000)
    with ExitStack() as stack:
        connections = [stack.enter_context(client(small, number)) for number in (10, 11) * 3]
        for connection in connections:
            connection.sendall(part)
        # One client alone gets half of the memory, two of them get all.
        await_true(lambda: gauge(small, "goldfish_body_bytes") > 7_000_000)
        answer = asked(small, 2, post("/predict", bytes(1_500_000)))
        assert answer.json["code"] == "image_unrecognised"
        await_true(lambda: bool(readable(connections)))
        assert {read(connection).status for connection in readable(connections)} == {503}
    await_true(lambda: gauge(small, "goldfish_body_bytes") == 0)


def test_one_client_has_half_of_the_memory(small: Server) -> None:
    part = head("POST", "/inference", "Content-Length: 2000000") + bytes(1_900_000)
    with ExitStack() as stack:
        for _ in range(6):
            stack.enter_context(client(small, 10)).sendall(part)
        await_true(lambda: gauge(small, "goldfish_body_bytes") > 3_000_000)
        time.sleep(0.5)
        assert gauge(small, "goldfish_body_bytes") <= 4 * MEGABYTE


def test_bytes_of_one_client_leave_time_for_those_of_another(small: Server) -> None:
    stop, uploaded, connections = threading.Event(), [], 6

    def flood() -> None:
        while not stop.is_set():
            with client(small, 10) as connection, suppress(OSError):
                connection.sendall(chunked("/predict", *[bytes(65536)] * 31))
                uploaded.append(read(connection).status)

    threads = [threading.Thread(target=flood) for _ in range(connections)]
    for thread in threads:
        thread.start()
    try:
        await_true(lambda: len(uploaded) > connections)
        overtaken = []
        for _ in range(5):
            before = len(uploaded)
            assert asked(small, 2, post("/predict", bytes(1_500_000))).status == 415
            overtaken.append(len(uploaded) - before)
        # While the other client uploads once, each connection of the first does so at most twice.
        assert sorted(overtaken)[2] <= 2 * connections
    finally:
        stop.set()
        for thread in threads:
            thread.join(20)


def test_keys_are_clients_where_they_are_asked_for(tmp_path: Path) -> None:
    digests = ",".join(hashlib.sha256(key.encode()).hexdigest() for key in ("greedy", "other"))
    greedy, other = "X-API-Key: greedy", "X-API-Key: other"
    stalled = head("POST", "/inference", "Content-Length: 1000", greedy) + b"x"
    with running(publish(tmp_path), uploads=4, api_keys=digests) as server, ExitStack() as stack:
        for number in range(10, 26):
            stack.enter_context(client(server, number)).sendall(stalled)
        time.sleep(0.3)
        request = post("/inference", RED, other)
        # Both are at one address, and the greedy one is at many.
        with client(server, 10) as connection:
            connection.sendall(request[:-10])
            time.sleep(0.2)
            connection.sendall(request[-10:])
            assert read(connection).status == 200


def test_addresses_behind_a_proxy_are_those_that_it_names(tmp_path: Path) -> None:
    with running(publish(tmp_path), uploads=4, proxy_hops=1) as server, ExitStack() as stack:
        for _ in range(16):
            stalled = head("POST", "/inference", "Content-Length: 1000", "X-Forwarded-For: 192.0.2.1") + b"x"
            stack.enter_context(server.connect()).sendall(stalled)
        time.sleep(0.3)
        request = post("/inference", RED, "X-Forwarded-For: ::ffff:192.0.2.2")
        with server.connect() as connection:
            connection.sendall(request[:-10])
            time.sleep(0.2)
            connection.sendall(request[-10:])
            assert read(connection).status == 200


DESCRIPTORS, LIMIT = 300, 150


def test_connections_of_one_client_do_not_push_out_those_of_others(tmp_path: Path) -> None:
    request = head("GET", "/livez")
    with running(publish(tmp_path), descriptors=DESCRIPTORS, keepalive=60) as server, ExitStack() as stack:
        others = [stack.enter_context(client(server, number)) for number in range(2, 32)]
        for connection in others:
            connection.sendall(request + request[:9])
            assert read(connection).status == 200
        for _ in range(3 * LIMIT):
            stack.enter_context(client(server, 100))
        for connection in others:
            connection.sendall(request[9:])
            assert read(connection).status == 200
        assert_responsive(server)


def test_heads_are_bounded_and_the_largest_client_is_refused_first(tmp_path: Path) -> None:
    large = b"GET /livez HTTP/1.1\r\n" + b"X: " + b"y" * (HEAD_BYTES - 1000)
    with running(publish(tmp_path), head_seconds=4 * TIMEOUT) as server, ExitStack() as stack:
        other = stack.enter_context(client(server, 2))
        other.sendall(large)
        before = server.worker.memory_info().rss
        connections = [stack.enter_context(client(server, 10)) for _ in range(600)]
        for connection in connections:
            with suppress(OSError):
                connection.sendall(large)
        assert_responsive(server)
        # 38 MB were sent.
        assert server.worker.memory_info().rss - before < 2 * MAX_HELD_BYTES
        other.sendall(b"\r\nHost: x\r\n\r\n")
        assert read(other).status == 431  # by Gunicorn: one field is too large, but all of it was read
        assert read(connections[0]).status == 503


def test_responses_that_one_client_does_not_read_do_not_delay_others(tmp_path: Path) -> None:
    with running(publish(tmp_path), slots=1, queue=1, uploads=1) as server, ExitStack() as stack:
        for path in ("/openapi.json", "/inference"):
            request = post(path, RED) if path == "/inference" else head("GET", path)
            for _ in range(60):
                connection = stack.enter_context(socket.socket())
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
                connection.connect(("127.0.0.1", server.port))
                connection.setblocking(False)
                with suppress(OSError):
                    for _ in range(300):
                        connection.sendall(request)
        time.sleep(0.5)
        for path in ("/livez", "/version", "/openapi.json"):
            began = time.monotonic()
            assert asked(server, 2, head("GET", path)).status == 200
            # Not blocked until the deadline of a response.
            assert time.monotonic() - began < SEND_SECONDS
        assert asked(server, 2, post("/inference", RED)).status == 200


def place_of_another(server: Server, many: int, theirs: bytes, request: bytes, status: int = 200) -> float:
    """The share of one client's requests that are answered before the last one, of another client: 0 to 1.

    The worker is suspended while they are sent, so that it finds all of them at once; the order is the log's.
    """
    begun = len(server.log())
    with ExitStack() as stack:
        crowd = [stack.enter_context(client(server, 10)) for _ in range(many)]
        other = stack.enter_context(client(server, 2))
        for connection in (*crowd, other):
            connection.sendall(head("GET", "/livez"))
            assert read(connection).status == 200
        server.worker.suspend()
        try:
            for connection in crowd:
                connection.sendall(theirs)
            other.sendall(request.replace(b"\r\n", b"\r\nX-Request-Id: the-other-client\r\n", 1))
        finally:
            server.worker.resume()
        assert read(other).status == 200
        statuses = Counter(read(connection).status for connection in crowd)
        assert set(statuses) <= {200, status}
    answered = [line for line in server.log()[begun + many + 1 :] if line.get("status") == 200]
    place = [line["request_id"] for line in answered].index("the-other-client")
    return place / (len(answered) - 1)


def test_clients_take_turns_in_the_queue(small: Server) -> None:
    # More than the queue takes, from one client.
    assert place_of_another(small, 20, post("/inference", SLOW), post("/inference", RED), 503) < 0.5


def test_scrapes_do_not_delay_health_checks(small: Server) -> None:
    assert place_of_another(small, 300, head("GET", "/metrics"), head("GET", "/readyz"), 503) < 0.5


EXPECTING = ("Expect: 100-continue", "Content-Length: 1000")
# Requests that can be refused by their heads, and the status.
REFUSED = {
    "no key": (head("POST", "/inference", *EXPECTING), 401),
    "a wrong key": (head("POST", "/predict", *EXPECTING, "X-API-Key: x"), 401),
    "too long": (
        head("POST", "/predict", "Expect: 100-continue", "Content-Length: 99999999", "X-API-Key: key"), 413,
    ),
    "packed in an odd way": (
        head("POST", "/predict", *EXPECTING, "X-API-Key: key", "Content-Encoding: br"), 415,
    ),
    "of an odd type": (
        head("POST", "/invocations", *EXPECTING, "X-API-Key: key", "Content-Type: text/csv"), 415,
    ),
    "nowhere": (head("POST", "/nowhere", *EXPECTING), 404),
    "malformed": (head("POST", "/predict", *EXPECTING, "Transfer-Encoding: chunked"), 400),
}  # fmt: skip


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that requires a key and accepts one upload at a time."""
    settings = {"api_keys": hashlib.sha256(b"key").hexdigest(), "rate_limit": "1000/day", "uploads": 1}
    with running(publish(tmp_path_factory.mktemp("keyed")), **settings) as started:
        yield started


@pytest.mark.parametrize("name", REFUSED)
def test_expecting_client_gets_the_final_status(keyed: Server, name: str) -> None:
    request, status = REFUSED[name]
    with keyed.connect() as connection:
        connection.sendall(request)
        answer = read(connection)
        assert (answer.status, answer.closed) == (status, True)


def test_expecting_client_is_refused_when_uploads_are_full(keyed: Server) -> None:
    request = head("POST", "/inference", *EXPECTING, "X-API-Key: key")
    with keyed.connect() as first, keyed.connect() as second:
        first.sendall(request)
        assert first.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        second.sendall(request)
        answer = read(second)
        assert (answer.status, answer.json["code"], answer.closed) == (503, "server_busy", True)


def test_expecting_client_that_sends_at_once_gets_no_100(keyed: Server) -> None:
    with keyed.connect() as connection:
        connection.sendall(post("/inference", RED, "Expect: 100-continue", "X-API-Key: key"))
        assert read(connection).status == 200


@IPV6
def test_clients_have_ipv6_addresses_too(tmp_path: Path) -> None:
    # Free at all addresses: connections of other tests have ports at some of them.
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as probe:
        settings = {"host": "::", "port": probe.getsockname()[1], "uploads": 2, "body_seconds": 60}
    with running(publish(tmp_path), **settings) as server, ExitStack() as stack:
        for _ in range(6):
            connection = socket.create_connection(("::1", server.port), timeout=TIMEOUT)
            stack.enter_context(connection).sendall(ONE_BYTE)
        time.sleep(0.2)
        with socket.create_connection(("::1", server.port), timeout=TIMEOUT) as connection:
            connection.sendall(ONE_BYTE)
            assert read(connection).status == 503
        # Its address is an IPv4 address mapped into IPv6.
        assert slowly(server, 2).status == 200
