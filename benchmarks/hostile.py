"""Measures what hostile clients cost: `python -m benchmarks.hostile`.

Each case runs against a new server. Its settings are the defaults but for shorter deadlines, which decide how
long the cases with slow clients take. Memory is the PSS of all processes, above what it was before the case.
Writes `benchmarks/hostile.json` and a table in `docs/robustness.md`.
"""

import gzip
import socket
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.documents import ROBUSTNESS, markdown_table, replace_section, write_json
from benchmarks.sampling import sampled
from serving.model.decoder import MAX_BYTES
from serving.server.client_socket import SEND_SECONDS
from serving.server.gunicorn_app import MAX_CONNECTIONS
from tests.serving.hostile_images import BOMBS, repeat_element, separate_scans
from tests.serving.images import black_png, encode_image
from tests.serving.servers import Server, publish, running
from tests.serving.wire import ask, chunked, head, post, read

RESULTS = Path(__file__).with_name("hostile.json")
DOCUMENT = ROBUSTNESS
HEAD_SECONDS, BODY_SECONDS = 2, 3
# Clients of the cases with many connections, and of those that exceed the limit of connections.
MANY_CLIENTS = 3000
TOO_MANY_CLIENTS = MAX_CONNECTIONS + 100
# Clients of the cases with expensive requests.
CLIENTS = 40
# Statuses that a hostile request may get.
STATUSES = {200, 400, 408, 413, 415, 422, 503}
# Seconds between two samples of memory, and of the latency of /readyz.
INTERVAL = 0.02

INVALID_UTF8 = post("/v2/models/colours/infer", b'{"id":"\xff"}', "Content-Type: application/json")
COLUMNS = ("what they do", "over after", "memory", "`/readyz` meanwhile, median and worst")

Attack = Callable[[Server], None]


def in_parallel(clients: int, send: Callable[[Server], None]) -> Attack:
    """An attack of several clients at once."""

    def attack(server: Server) -> None:
        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(send, [server] * clients))

    return attack


def simultaneous(request: bytes) -> Attack:
    """Sends the same complete request from `CLIENTS` clients at once."""

    def send(server: Server) -> None:
        status = ask(server, request).status
        if status not in STATUSES:
            raise AssertionError(f"unexpected status: {status}")

    return in_parallel(CLIENTS, send)


def many_connections(data: bytes, clients: int = MANY_CLIENTS) -> Attack:
    """Sends the same bytes on many connections, and waits until the server has closed all of them."""

    def attack(server: Server) -> None:
        with ExitStack() as stack:
            connections = [stack.enter_context(server.connect()) for _ in range(clients)]
            for connection in connections:
                # The server may have closed it already.
                with suppress(ConnectionError):
                    connection.sendall(data)
            for connection in connections:
                with suppress(ConnectionError):
                    while connection.recv(65536):
                        pass

    return attack


def endless_body(piece: bytes, pieces: int) -> Attack:
    """Sends the same piece of a chunked body again and again, until the server closes the connection."""

    def send(server: Server) -> None:
        with server.connect() as connection, suppress(OSError):
            connection.sendall(head("POST", "/inference", "Transfer-Encoding: chunked"))
            for _ in range(pieces):
                connection.sendall(piece)

    return send


def trickling_body(server: Server) -> None:
    """Sends one byte of a body every 0.2 s until the server responds."""
    with server.connect() as connection:
        connection.sendall(head("POST", "/inference", "Content-Length: 1000000"))
        connection.settimeout(0.2)
        while True:
            connection.sendall(b"x")
            with suppress(TimeoutError):
                connection.recv(65536)
                return


def unread_responses(server: Server) -> None:
    """Sends requests without reading the responses, until the server closes the connection."""
    with socket.socket() as connection, suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        connection.connect(("127.0.0.1", server.port))
        connection.settimeout(2 * SEND_SECONDS)
        while True:
            connection.sendall(head("GET", "/openapi.json") * 100)


def form(data: bytes) -> bytes:
    """A request with a multipart form that holds one file."""
    disposition = b'Content-Disposition: form-data; name="image"; filename="x"'
    body = b"--b\r\n" + disposition + b"\r\n\r\n" + data + b"\r\n--b--\r\n"
    return post("/inference", body, "Content-Type: multipart/form-data; boundary=b")


def expensive_images() -> dict[str, bytes]:
    """Images that take much more CPU time or memory than their size in bytes suggests."""
    opaque, transparent = Image.new("RGB", (3460, 3460)), Image.new("RGBA", (3460, 3460))
    return {
        "PNGs of 81 megapixels in 10 kB": black_png(9000),
        "transparent PNGs of 25 megapixels": encode_image(Image.new("LA", (5000, 5000)), "PNG"),
        "PNGs of 20 MiB of empty deflate blocks": BOMBS["png, empty blocks of deflate"](),
        "JPEGs of 200 megapixels in 166 bytes": separate_scans(14_100),
        "JPEGs of 25 megapixels in 166 bytes": separate_scans(5000),
        "JPEGs of 40 scans over 25 megapixels": BOMBS["jpeg, 40 scans of 25 megapixels"](),
        "JPEGs with 2 MiB of EXIF in pieces": repeat_element("jpeg, exif", 2 * 2**20),
        "WebPs of 12 megapixels": encode_image(opaque, "WEBP", method=0),
        "WebPs with 65,536 Huffman tables": BOMBS["webp, 65,536 tables"](),
        "transparent AVIFs of 12 megapixels": encode_image(
            transparent, "AVIF", speed=10, subsampling="4:4:4"
        ),
        "GIFs with 2 MiB of comments": repeat_element("gif, comment", 2 * 2**20),
    }


def cases() -> dict[str, Attack]:
    """All attacks by their names in the table."""
    many = MANY_CLIENTS
    bomb = post("/inference", gzip.compress(bytes(10**8)), "Content-Encoding: gzip")
    invalid_chunk = chunked("/inference", b"x" * 100)[:-20] + b"zz\r\n\r\n"
    mebibyte = b"100000\r\n" + bytes(2**20) + b"\r\n"
    images = expensive_images().items()
    return {
        f"{many} connections that send nothing": many_connections(b""),
        f"{many} half-sent heads": many_connections(b"POST /inference HTTP/1.1\r\nHost: x\r\n"),
        f"{many} unfinished heads of 60 kB": many_connections(
            head("GET", "/livez", "X: " + "x" * 60_000)[:-4]
        ),
        f"{TOO_MANY_CLIENTS} connections, more than there may be": many_connections(b"G", TOO_MANY_CLIENTS),
        f"{many} stalled bodies": many_connections(head("POST", "/inference", "Content-Length: 100000")),
        "a trickling body": trickling_body,
        "8 chunked bodies of 200 MB": in_parallel(8, endless_body(mebibyte, 200)),
        **{f"{CLIENTS} {name}": simultaneous(post("/inference", data)) for name, data in images},
        f"{CLIENTS} gzip bombs of 100 MB in 100 kB": simultaneous(bomb),
        f"{CLIENTS} bodies of 20 MiB of nothing": simultaneous(post("/inference", bytes(MAX_BYTES))),
        f"{CLIENTS} forms of 20 MiB of nothing": simultaneous(form(bytes(MAX_BYTES))),
        f"{CLIENTS} documents that are no UTF-8": simultaneous(INVALID_UTF8),
        "300 scrapes of the metrics": many_connections(head("GET", "/metrics", "Connection: close"), 300),
        f"{CLIENTS} unfinished chunks": simultaneous(invalid_chunk),
        "16 endless extensions of a chunk": in_parallel(16, endless_body(b"1;" + b"a" * 10_000, 1000)),
        "16 bodies in chunks of one byte": in_parallel(16, endless_body(b"1\r\nx\r\n" * 2000, 1000)),
        "20 clients that read nothing": in_parallel(20, unread_responses),
    }


def probe_readiness(server: Server) -> float:
    """Latency of /readyz on a new connection, ms."""
    began = time.monotonic()
    with server.connect() as connection:
        connection.sendall(head("GET", "/readyz"))
        if read(connection).status != 200:
            raise AssertionError("not ready")
    return 1000 * (time.monotonic() - began)


def measure(server: Server, attack: Attack) -> dict[str, Any]:
    """Duration of an attack, the peak memory, and the latency of health checks during it."""
    with (
        sampled(lambda: server.pss, INTERVAL) as memory,
        sampled(lambda: probe_readiness(server), INTERVAL) as latencies,
    ):
        began = time.monotonic()
        attack(server)
        seconds = time.monotonic() - began
    return {
        "seconds": round(seconds, 2),
        "megabytes": max(memory) - memory[0],
        "readyz_median_ms": round(statistics.median(latencies), 1),
        "readyz_worst_ms": round(max(latencies), 1),
    }


def main() -> None:
    """Runs all cases, writes the results and shows them in the document."""
    settings = {"head_seconds": HEAD_SECONDS, "body_seconds": BODY_SECONDS}
    results: dict[str, Any] = settings | {"cases": {}}
    for name, attack in cases().items():
        with tempfile.TemporaryDirectory() as folder, running(publish(Path(folder)), **settings) as server:
            results["cases"][name] = measure(server, attack)
        print(f"{name}: {results['cases'][name]}", flush=True)
    write_json(RESULTS, results)
    replace_section(DOCUMENT, "hostile", table(results))


def table(results: dict[str, Any]) -> str:
    """The section of docs/robustness.md."""
    rows = []
    for name, case in results["cases"].items():
        latency = f"{case['readyz_median_ms']:.0f} ms, {case['readyz_worst_ms']:.0f} ms"
        rows.append((name, f"{case['seconds']:.1f} s", f"{case['megabytes']:+d} MB", latency))
    return markdown_table(COLUMNS, rows)


if __name__ == "__main__":
    main()
