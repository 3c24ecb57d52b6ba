"""Connections: keep-alive, deadlines for slow clients, limits, pipelining, malformed requests.

Each test is named after a fault that was seen in Gunicorn's or Werkzeug's own behaviour.
"""

import gzip
import socket
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest

from serving.server.client_socket import SEND_SECONDS
from tests.serving.bundles import COLOURS, one_colour_png
from tests.serving.servers import TIMEOUT, Server, await_true, publish, running
from tests.serving.wire import ask, assert_responsive, chunked, head, post, read, readable

RED = one_colour_png(COLOURS["red"])
MEGABYTE = bytes(2**20)
# Short for tests; the results do not depend on them.
HEAD_SECONDS, BODY_SECONDS = 1.5, 1.5
# A deadline that no test reaches: a request that another one blocks is not answered within `TIMEOUT`.
LONG = 4 * TIMEOUT
# Far more connections than threads.
CROWD = 150


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with short deadlines, a body limit of 1 MiB and few uploads at once."""
    settings = {"head_seconds": HEAD_SECONDS, "body_seconds": BODY_SECONDS, "max_body_mb": 1, "uploads": 4}
    with running(publish(tmp_path_factory.mktemp("strict")), **settings) as started:
        yield started


@pytest.fixture(scope="module")
def lenient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The same with deadlines that no test reaches."""
    settings = {"head_seconds": LONG, "body_seconds": LONG, "uploads": 4}
    with running(publish(tmp_path_factory.mktemp("lenient")), **settings) as started:
        yield started


# Responses that are sent before a megabyte of body has arrived.
EARLY = {
    "404": (post("/nowhere", MEGABYTE), 404),
    "405": (post("/livez", MEGABYTE), 405),
    "400, a parameter": (post("/predict?top=0", MEGABYTE), 400),
    "415": (post("/predict", MEGABYTE), 415),
    "400, a form": (post("/predict", MEGABYTE, "Content-Type: multipart/form-data; boundary=x"), 400),
    "400, no boundary": (post("/inference", MEGABYTE, "Content-Type: multipart/form-data"), 400),
}


@pytest.mark.parametrize("name", EARLY)
def test_keep_alive_is_no_lie_after_an_early_answer(server: Server, name: str) -> None:
    request, status = EARLY[name]
    with server.connect() as connection:
        for _ in range(3):
            connection.sendall(request)
            answer = read(connection)
            assert (answer.status, answer.closed) == (status, False)
        connection.sendall(post("/inference", RED))
        assert read(connection).status == 200


# Bodies that the server does not read to the end: their length is unknown or too large.
LEFT = {
    "large": post("/nowhere", bytes(5_000_000)),
    "in chunks": chunked("/nowhere", *[MEGABYTE[:65536]] * 16),
    "stalled": head("POST", "/nowhere", "Content-Length: 1000000"),
}


@pytest.mark.parametrize("name", LEFT)
def test_connection_is_closed_and_said_to_be_when_much_is_left(server: Server, name: str) -> None:
    with server.connect() as connection:
        connection.sendall(LEFT[name])
        answer = read(connection)
        assert (answer.status, answer.closed) == (404, True)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_keep_alive_is_not_promised_when_a_body_is_left(server: Server, method: str) -> None:
    with server.connect() as connection:
        connection.sendall(head(method, "/livez", "Content-Length: 1000000"))
        data = connection.recv(65536)
        assert data.startswith(b"HTTP/1.1 200")
        assert b"Connection: close" in data


def test_too_large_a_body_is_refused_without_reading_it(strict: Server) -> None:
    with strict.connect() as connection:
        connection.sendall(head("POST", "/predict", "Content-Length: 60000000"))
        answer = read(connection)
    assert (answer.status, answer.json["code"], answer.closed) == (413, "body_too_large", True)


def test_client_that_sends_all_of_too_large_a_body_sees_the_answer(strict: Server) -> None:
    # `requests` sends everything before it reads; a reset of the connection would lose the response.
    with strict.connect() as connection:
        connection.sendall(head("POST", "/predict", "Content-Length: 9000000"))
        with suppress(OSError):
            for _ in range(9):
                connection.sendall(bytes(1_000_000))
        assert read(connection).json["code"] == "body_too_large"


LIMIT = 2**20


@pytest.mark.parametrize(
    ("size", "status"), [(LIMIT - 1, 415), (LIMIT, 415), (LIMIT + 1, 413), (4 * LIMIT, 413)]
)
def test_chunked_body_is_not_silently_truncated(strict: Server, size: int, status: int) -> None:
    chunks = [bytes(min(65536, size - start)) for start in range(0, size, 65536)]
    with strict.connect() as connection:
        with suppress(OSError):
            connection.sendall(chunked("/predict", *chunks))
        assert read(connection).status == status


@pytest.mark.parametrize("size", [LIMIT, LIMIT + 1])
def test_limit_is_exact(strict: Server, size: int) -> None:
    assert ask(strict, post("/predict", bytes(size))).status == (415 if size == LIMIT else 413)


@pytest.mark.parametrize(
    "request_",
    [
        head("POST", "/inference", "Content-Length: 1000") + RED[:10],
        head("POST", "/inference", "Transfer-Encoding: chunked") + b"ff\r\n" + RED[:10],
        head("POST", "/inference", "Transfer-Encoding: chunked") + b"a\r\n" + RED[:10] + b"\r\n",
        head("POST", "/inference", "Transfer-Encoding: chunked") + b"0\r\nTrailer: x",
    ],
    ids=["content-length", "within a chunk", "between chunks", "within the trailers"],
)
def test_short_body_does_not_pass(server: Server, request_: bytes) -> None:
    with server.connect() as connection:
        connection.sendall(request_)
        connection.shutdown(socket.SHUT_WR)
        answer = read(connection)
    assert (answer.status, answer.json["code"], answer.closed) == (400, "body_incomplete", True)


STALLED_HEADS = pytest.mark.parametrize(
    "sent", [b"", b"G", b"POST /predict HTTP/1.1\r\nHost: x\r\n"], ids=["none", "one", "half"]
)
FRAMINGS = pytest.mark.parametrize("framing", ["Content-Length: 1000", "Transfer-Encoding: chunked"])


def send_from_crowd(server: Server, stack: ExitStack, data: bytes) -> list[socket.socket]:
    """Many connections that have sent the same."""
    crowd = [stack.enter_context(server.connect()) for _ in range(CROWD)]
    for connection in crowd:
        connection.sendall(data)
    return crowd


@STALLED_HEADS
def test_stalled_heads_do_not_starve_others(lenient: Server, sent: bytes) -> None:
    with ExitStack() as stack:
        crowd = send_from_crowd(lenient, stack, sent)
        assert_responsive(lenient)
        assert ask(lenient, post("/inference", RED)).status == 200
        # The stalled connections still wait.
        assert readable(crowd) == []


@STALLED_HEADS
def test_stalled_heads_meet_their_deadline(strict: Server, sent: bytes) -> None:
    with ExitStack() as stack:
        for connection in send_from_crowd(strict, stack, sent):
            # Only a client that has sent something gets a response.
            answer = connection.recv(65536)
            assert answer.startswith(b"HTTP/1.1 408") if sent else answer == b""


@pytest.mark.parametrize(
    ("framing", "start"), [("Content-Length: 100000", b""), ("Transfer-Encoding: chunked", b"fffff\r\n")]
)
def test_stalled_bodies_do_not_starve_others(lenient: Server, framing: str, start: bytes) -> None:
    # Enough for the minimum rate of an upload to allow them 45 s.
    request = head("POST", "/inference", framing) + start + bytes(40_000)
    with ExitStack() as stack:
        crowd = send_from_crowd(lenient, stack, request)
        # Only few may upload at once; the others are refused.
        await_true(lambda: len(readable(crowd)) > CROWD // 2)
        assert_responsive(lenient)
        # On a busy machine some of the crowd are still to be refused, and a request beside them is too.
        await_true(lambda: ask(lenient, post("/inference", RED)).status == 200)
        refused = readable(crowd)
        assert len(refused) < CROWD
        assert {read(connection).status for connection in refused} == {503}


@FRAMINGS
def test_stalled_bodies_meet_their_deadline(strict: Server, framing: str) -> None:
    with ExitStack() as stack:
        crowd = send_from_crowd(strict, stack, head("POST", "/inference", framing))
        statuses = [read(connection).status for connection in crowd]
        # The uploads that were admitted time out, the others were refused.
        assert set(statuses) == {408, 503}
        assert 0 < statuses.count(408) <= CROWD // 2
        assert ask(strict, post("/inference", RED)).status == 200


@FRAMINGS
def test_trickling_body_meets_its_deadline(strict: Server, framing: str) -> None:
    part = b"1\r\nx\r\n" if "chunked" in framing else b"x"
    with strict.connect() as connection:
        connection.sendall(head("POST", "/inference", framing))
        assert trickle(connection, part).startswith(b"HTTP/1.1 408")


def test_trickling_head_meets_its_deadline(strict: Server) -> None:
    with strict.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n")
        assert trickle(connection, b"X-Header: y\r\n").startswith(b"HTTP/1.1 408")


def trickle(connection: socket.socket, part: bytes) -> bytes:
    """Sends a little again and again until there is a response, at most for `TIMEOUT`."""
    end, answer = time.monotonic() + TIMEOUT, b""
    connection.settimeout(0.2)
    while not answer and time.monotonic() < end:
        connection.sendall(part)
        with suppress(TimeoutError):
            answer = connection.recv(65536)
    return answer


def test_closed_connections_that_linger_do_not_starve_others(strict: Server) -> None:
    # They have a response that announces the end, and do not close: Gunicorn's loop would wait 2 s for each.
    with ExitStack() as stack:
        crowd = [stack.enter_context(strict.connect()) for _ in range(40)]
        for connection in crowd:
            connection.sendall(head("GET", "/livez", "Connection: close"))
            assert read(connection).closed
        assert_responsive(strict)


def unread(server: Server, stack: ExitStack, path: str) -> socket.socket:
    """A connection with many requests whose responses are not read, until the server can send no more."""
    connection = stack.enter_context(socket.socket())
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    connection.connect(("127.0.0.1", server.port))
    connection.settimeout(0.5)
    with suppress(OSError):
        for _ in range(5000):
            connection.sendall(head("GET", path))
    return connection


@pytest.mark.parametrize("path", ["/metrics", "/openapi.json"])
def test_clients_that_read_nothing_do_not_starve_others(tmp_path: Path, path: str) -> None:
    with running(publish(tmp_path), slots=1, queue=1, uploads=1) as server, ExitStack() as stack:
        # More of them than there are threads, for health checks or for all others.
        for _ in range(12):
            unread(server, stack, path)
        await_true(lambda: predicts(server))
        for path_ in ("/livez", "/readyz", "/metrics"):
            began = time.monotonic()
            assert ask(server, head("GET", path_)).status == 200
            # Not blocked until the deadline of a response.
            assert time.monotonic() - began < SEND_SECONDS
        assert [line for line in server.log() if "trace" in line] == []


def predicts(server: Server) -> bool:
    """Whether a prediction is answered within a second."""
    with suppress(TimeoutError, OSError), server.connect() as connection:
        connection.settimeout(1)
        connection.sendall(post("/inference", RED))
        return read(connection).status == 200
    return False


LIVEZ, VERSION, NOWHERE = (head("GET", path) for path in ("/livez", "/version", "/nowhere"))
# Ways to send requests without waiting for the first answer: parts, and the status of each answer.
PIPELINES = {
    "together": [LIVEZ + VERSION + NOWHERE],
    "half of the next": [LIVEZ + VERSION[:9], VERSION[9:] + NOWHERE],
    "bodies": [post("/inference", RED) + post("/predict", RED) + NOWHERE],
    "chunks": [chunked("/inference", RED) + chunked("/predict", RED[:9], RED[9:]) + NOWHERE],
    "an empty line between": [LIVEZ + b"\r\n" + VERSION + b"\r\n\r\n" + NOWHERE],
}


@pytest.mark.parametrize("name", PIPELINES)
def test_pipelined_requests_are_answered_in_their_order(server: Server, name: str) -> None:
    with server.connect() as connection:
        for part in PIPELINES[name]:
            connection.sendall(part)
            time.sleep(0.1)
        reader = connection.makefile("rb")
        answers = []
        for _ in range(3):
            status = int(reader.readline().split()[1])
            lines = iter(reader.readline, b"\r\n")
            fields = dict(line.decode().strip().lower().split(": ", 1) for line in lines)
            answers.append((status, reader.read(int(fields["content-length"]))))
        reader.close()
    assert [status for status, _ in answers] == [200, 200, 404]
    assert b"digest" in answers[1][1]


def test_more_connections_than_allowed_do_not_hide_the_health_checks(tmp_path: Path) -> None:
    with running(publish(tmp_path), descriptors=300) as server, ExitStack() as stack:
        for _ in range(400):
            stack.enter_context(server.connect())
        assert_responsive(server)
        assert ask(server, post("/inference", RED)).status == 200
        assert psutil.Process(server.process.pid).children() == [server.worker]


def test_worker_outlives_a_lack_of_descriptors(tmp_path: Path) -> None:
    with running(publish(tmp_path)) as server, ExitStack() as stack:
        worker = server.worker
        # As if something else in the process had taken them.
        worker.rlimit(psutil.RLIMIT_NOFILE, (worker.num_fds() + 20, 4096))
        for _ in range(100):
            stack.enter_context(server.connect())
        time.sleep(0.5)
        assert ask(server, head("GET", "/livez")).status == 200
        stack.close()
        assert ask(server, post("/inference", RED)).status == 200
        assert server.worker.pid == worker.pid


# Malformed or wasteful chunk framing, and a part of the error.
FRAMES = {
    "no size": (b"no hex\r\n", "no size"),
    "a negative size": (b"-1\r\n", "no size"),
    "a huge size": (b"fffffffff\r\n", "no size"),
    "more than its size": (b"1\r\nxyz\r\n", "longer"),
    "an endless size": (b"1" * 100_000, "no end"),
    "an endless extension": (b"1;" + b"a" * 100_000, "no end"),
    "an endless trailer": (b"0\r\n" + b"a" * 100_000, "no end"),
    "endless trailers": (b"0\r\n" + b"a: b\r\n" * 10_000, "no end"),
    "one byte each": (b"1\r\nx\r\n" * 100_000, "framing"),
    "extensions": ((b"1;" + b"a" * 900 + b"\r\nx\r\n") * 1000, "framing"),
}


@pytest.mark.parametrize("name", FRAMES)
def test_frames_of_chunks_are_bounded(server: Server, name: str) -> None:
    body, reason = FRAMES[name]
    before = server.worker.cpu_times().user
    with server.connect() as connection:
        with suppress(OSError):
            connection.sendall(head("POST", "/inference", "Transfer-Encoding: chunked") + body)
        answer = read(connection)
    assert (answer.status, answer.json["code"], answer.closed) == (400, "body_malformed", True)
    assert reason in answer.json["detail"]
    # CPU time, of which an unbounded parser would use as much as the body may take: 30 s.
    assert server.worker.cpu_times().user - before < 5


def test_chunks_may_be_small_and_have_extensions(server: Server) -> None:
    frames = b"".join(b"0008 ;name=value\r\n" + RED[at : at + 8] + b"\r\n" for at in range(0, 72, 8))
    last = b"%x\r\n" % len(RED[72:]) + RED[72:] + b"\r\n0\r\nTrailer: x\r\nOther: y\r\n\r\n"
    request = head("POST", "/inference", "Transfer-Encoding: chunked") + frames + last
    with server.connect() as connection:
        for _ in range(3):
            connection.sendall(request)
            assert read(connection).status == 200


def test_host_is_wanted(server: Server) -> None:
    assert ask(server, b"GET /livez HTTP/1.1\r\n\r\n").status == 400
    assert ask(server, b"GET /livez HTTP/1.0\r\n\r\n").status == 200


@pytest.mark.parametrize(
    "request_", [head("GET", "/livez"), post("/inference", RED), head("GET", "/nowhere")]
)
def test_connection_is_kept(server: Server, request_: bytes) -> None:
    with server.connect() as connection:
        for _ in range(20):
            connection.sendall(request_)
            assert not read(connection).closed


def test_head_may_come_in_pieces(server: Server) -> None:
    request = post("/inference", RED)
    with server.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(request), 7):
            connection.sendall(request[start : start + 7])
            time.sleep(0.002)
        assert read(connection).status == 200


CODES = {
    400: "request_malformed",
    414: "request_line_too_long",
    417: "expectation_unknown",
    431: "head_too_large",
    501: "coding_unknown",
}
# Requests that are no HTTP, or that Gunicorn's parser refuses, and the status.
MALFORMED = {
    "no http": (b"hello\r\n\r\n", 400),
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "http/9": (b"GET / HTTP/9.0\r\n\r\n", 400),
    "a header without a name": (b"GET / HTTP/1.1\r\n: x\r\n\r\n", 400),
    "two lengths": (head("POST", "/predict", "Content-Length: 1", "Content-Length: 2"), 400),
    "a negative length": (head("POST", "/predict", "Content-Length: -1"), 400),
    "length and chunks": (head("POST", "/predict", "Content-Length: 5", "Transfer-Encoding: chunked"), 400),
    "an unknown coding": (head("POST", "/predict", "Transfer-Encoding: rot13"), 501),
    "an unknown expectation": (head("POST", "/predict", "Expect: miracles"), 417),
    "a long line": (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\n\r\n", 414),
    "many headers": (head("GET", "/", *(f"X-{number}: y" for number in range(200))), 431),
    "a large header": (head("GET", "/", "X: " + "y" * 9000), 431),
    "a head without end": (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000, 431),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_requests_get_the_same_json(server: Server, name: str) -> None:
    request, status = MALFORMED[name]
    with server.connect() as connection:
        with suppress(OSError):
            connection.sendall(request)
        answer = read(connection)
    assert (answer.status, answer.closed) == (status, True)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["code"] == CODES[status]
    # With the same headers, metrics and log line as all other responses.
    assert answer.json["request_id"] == answer.headers["x-request-id"]
    assert {"x-model-digest", "content-security-policy", "date"} <= answer.headers.keys()
    line = server.log()[-1]
    assert (line["request_id"], line["route"], line["status"]) == (answer.json["request_id"], "none", status)
    series = f'goldfish_requests_total{{route="none",status="{status}"}}'
    assert series in server.get("/metrics").text
    assert b"127.0.0.1" not in answer.body


def test_expecting_clients_are_told_to_go_on(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(head("POST", "/inference", f"Content-Length: {len(RED)}", "Expect: 100-continue"))
        assert connection.recv(65536).startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
        connection.sendall(RED)
        assert read(connection).status == 200


@pytest.mark.parametrize(
    ("size", "members", "code"),
    [
        (10**8, 1, "body_too_large"),
        # Members one after the other, each of which is small.
        (10**6, 100, "encoding_malformed"),
    ],
)
def test_compressed_bomb_is_expanded_no_further_than_a_body_may_be(
    server: Server, size: int, members: int, code: str
) -> None:
    bomb = gzip.compress(bytes(size)) * members
    before = server.worker.memory_info().rss
    answer = ask(server, post("/inference", bomb, "Content-Encoding: gzip"))
    assert answer.json["code"] == code
    assert server.worker.memory_info().rss - before < 20 * 2**20


def test_compressed_image_is_unpacked(server: Server) -> None:
    for body, coding in ((gzip.compress(RED), "gzip"), (zlib.compress(RED), "Deflate"), (RED, "identity")):
        assert ask(server, post("/inference", body, f"Content-Encoding: {coding}")).status == 200


def test_many_good_clients_at_once(server: Server) -> None:
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda _: ask(server, post("/inference", RED)), range(200)))
    assert {answer.status for answer in answers} <= {200, 503}
    assert all(max(answer.json, key=answer.json.get) == "red" for answer in answers if answer.status == 200)
