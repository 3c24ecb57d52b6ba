"""What hostile clients cost: `python -m benchmarks.hostile` writes `benchmarks/hostile.json` and a table.

Each case runs against a fresh server with default settings but for shorter deadlines, which show in the times
of slow clients. Memory is the PSS of all processes, above what it was before.
"""

import gzip
import json
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.documents import ROOT, show
from serving.model.decoder import MAX_BYTES
from serving.server.client_socket import SEND_SECONDS
from serving.server.gunicorn_app import MAX_CONNECTIONS
from tests.serving.hostile_pictures import BOMBS, filled, separate_scans
from tests.serving.pictures import bilevel, encoded
from tests.serving.servers import Server, publish, running
from tests.serving.wire import ask, chunked, head, post, read

RESULTS = Path(__file__).with_name("hostile.json")
DOCUMENT = ROOT / "docs/robustness.md"
HEAD_SECONDS, BODY_SECONDS = 2, 3
CROWD = 3000
# More than the limit of connections (serving/server/gunicorn_app.py).
BEYOND = MAX_CONNECTIONS + 100
# As often as one that means ill would try at once.
TOGETHER = 40

NO_TEXT = post("/v2/models/colours/infer", b'{"id":"\xff"}', "Content-Type: application/json")

HEADER = "| what they do | over after | memory | `/readyz` meanwhile, median and worst |"

Attack = Callable[[Server], None]


def at_once(request: bytes) -> Attack:
    """Sends the same request from many clients at once."""

    def attack(server: Server) -> None:
        with ThreadPoolExecutor(TOGETHER) as pool:
            statuses = {answer.status for answer in pool.map(lambda _: ask(server, request), range(TOGETHER))}
        if not statuses <= {200, 400, 408, 413, 415, 422, 503}:
            raise AssertionError(f"unexpected answers: {statuses}")

    return attack


def form(data: bytes) -> bytes:
    """A request with a form that holds one file."""
    disposition = b'Content-Disposition: form-data; name="image"; filename="x"'
    body = b"--b\r\n" + disposition + b"\r\n\r\n" + data + b"\r\n--b--\r\n"
    return post("/inference", body, "Content-Type: multipart/form-data; boundary=b")


def crowd(beginning: bytes, size: int = CROWD) -> Attack:
    """Many clients that send a beginning, and wait until the server has let go of all of them."""

    def attack(server: Server) -> None:
        with ExitStack() as stack:
            connections = [stack.enter_context(server.connect()) for _ in range(size)]
            for connection in connections:
                # The server may have let go of it already.
                with suppress(ConnectionError):
                    connection.sendall(beginning)
            for connection in connections:
                with suppress(ConnectionError):
                    while connection.recv(65536):
                        pass

    return attack


def trickle(server: Server) -> None:
    """A body of which a byte comes five times a second."""
    with server.connect() as connection:
        connection.sendall(head("POST", "/inference", "Content-Length: 1000000"))
        connection.settimeout(0.2)
        while True:
            connection.sendall(b"x")
            with suppress(TimeoutError):
                connection.recv(65536)
                return


def endless(server: Server) -> None:
    """Chunks without end, from several clients."""

    def one(_: int) -> None:
        with server.connect() as connection, suppress(OSError):
            connection.sendall(head("POST", "/inference", "Transfer-Encoding: chunked"))
            for _ in range(200):
                connection.sendall(b"100000\r\n" + bytes(2**20) + b"\r\n")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(8)))


def endless_frames(body: bytes) -> Attack:
    """The frames of chunks, sent again and again, from several clients."""

    def one(server: Server) -> None:
        with server.connect() as connection, suppress(OSError):
            connection.sendall(head("POST", "/inference", "Transfer-Encoding: chunked"))
            for _ in range(1000):
                connection.sendall(body)

    def attack(server: Server) -> None:
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(one, [server] * 16))

    return attack


def unread(server: Server) -> None:
    """Clients that ask for much and read nothing of it, until the server has let go of them."""

    def one(_: int) -> None:
        with socket.socket() as connection, suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            connection.connect(("127.0.0.1", server.port))
            connection.settimeout(2 * SEND_SECONDS)
            while True:
                connection.sendall(head("GET", "/openapi.json") * 100)

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(one, range(20)))


def pictures() -> dict[str, bytes]:
    """Pictures that cost more than they look."""
    blank, clear = Image.new("RGB", (3460, 3460)), Image.new("RGBA", (3460, 3460))
    return {
        "PNGs of 81 megapixels in 10 kB": bilevel(9000),
        "transparent PNGs of 25 megapixels": encoded(Image.new("LA", (5000, 5000)), "PNG"),
        "PNGs of 20 MiB of empty deflate blocks": BOMBS["png, empty blocks of deflate"](),
        "JPEGs of 200 megapixels in 166 bytes": separate_scans(14_100),
        "JPEGs of 25 megapixels in 166 bytes": separate_scans(5000),
        "JPEGs of 40 scans over 25 megapixels": BOMBS["jpeg, 40 scans of 25 megapixels"](),
        "JPEGs with 2 MiB of EXIF in pieces": filled("jpeg, exif", 2 * 2**20),
        "WebPs of 12 megapixels": encoded(blank, "WEBP", method=0),
        "WebPs with 65,536 Huffman tables": BOMBS["webp, 65,536 tables"](),
        "transparent AVIFs of 12 megapixels": encoded(clear, "AVIF", speed=10, subsampling="4:4:4"),
        "GIFs with 2 MiB of comments": filled("gif, comment", 2 * 2**20),
    }


def cases() -> dict[str, Attack]:
    """What is tried, by the words that the documents use."""
    return {
        f"{CROWD} connections that send nothing": crowd(b""),
        f"{CROWD} half-sent heads": crowd(b"POST /inference HTTP/1.1\r\nHost: x\r\n"),
        f"{CROWD} unfinished heads of 60 kB": crowd(head("GET", "/livez", "X: " + "x" * 60_000)[:-4]),
        f"{BEYOND} connections, more than there may be": crowd(b"G", BEYOND),
        f"{CROWD} stalled bodies": crowd(head("POST", "/inference", "Content-Length: 100000")),
        "a trickling body": trickle,
        "8 chunked bodies of 200 MB": endless,
        **{f"{TOGETHER} {name}": at_once(post("/inference", data)) for name, data in pictures().items()},
        f"{TOGETHER} gzip bombs of 100 MB in 100 kB": at_once(
            post("/inference", gzip.compress(bytes(10**8)), "Content-Encoding: gzip")
        ),
        f"{TOGETHER} bodies of 20 MiB of nothing": at_once(post("/inference", bytes(MAX_BYTES))),
        f"{TOGETHER} forms of 20 MiB of nothing": at_once(form(bytes(MAX_BYTES))),
        f"{TOGETHER} documents that are no UTF-8": at_once(NO_TEXT),
        "300 scrapes of the metrics": crowd(head("GET", "/metrics", "Connection: close"), 300),
        f"{TOGETHER} unfinished chunks": at_once(chunked("/inference", b"x" * 100)[:-20] + b"zz\r\n\r\n"),
        "16 endless extensions of a chunk": endless_frames(b"1;" + b"a" * 10_000),
        "16 bodies in chunks of one byte": endless_frames(b"1\r\nx\r\n" * 2000),
        "20 clients that read nothing": unread,
    }


@contextmanager
def watched(server: Server) -> Iterator[dict[str, Any]]:
    """Notes seconds, the highest memory and how the health checks fared while the block runs."""
    before, stop = server.pss, threading.Event()
    seen: dict[str, Any] = {}
    memory, latencies = [before], []

    def look() -> None:
        while not stop.wait(0.02):
            memory.append(server.pss)

    def probe() -> None:
        while not stop.wait(0.02):
            began = time.monotonic()
            with server.connect() as connection:
                connection.sendall(head("GET", "/readyz"))
                if read(connection).status != 200:
                    raise AssertionError("not ready")
            latencies.append(1000 * (time.monotonic() - began))

    with ThreadPoolExecutor(2) as pool:
        watchers = [pool.submit(look), pool.submit(probe)]
        began = time.monotonic()
        try:
            yield seen
        finally:
            seconds = time.monotonic() - began
            stop.set()
        for watcher in watchers:
            watcher.result()
    seen |= {
        "seconds": round(seconds, 2),
        "megabytes": max(memory) - before,
        "readyz_median_ms": round(statistics.median(latencies), 1),
        "readyz_worst_ms": round(max(latencies), 1),
    }


def main() -> None:
    """Runs all cases and writes what they cost."""
    results: dict[str, Any] = {"head_seconds": HEAD_SECONDS, "body_seconds": BODY_SECONDS, "cases": {}}
    for name, attack in cases().items():
        with tempfile.TemporaryDirectory() as folder:
            settings = {"head_seconds": HEAD_SECONDS, "body_seconds": BODY_SECONDS}
            with running(publish(Path(folder)), **settings) as server:
                with watched(server) as seen:
                    attack(server)
                results["cases"][name] = seen
        print(f"{name}: {seen}", flush=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    show(DOCUMENT, "hostile", table(results))


def table(results: dict[str, Any]) -> str:
    """The results as the manual shows them."""
    lines = [HEADER, "| --- | --- | --- | --- |"]
    for name, seen in results["cases"].items():
        times = f"{seen['readyz_median_ms']:.0f} ms, {seen['readyz_worst_ms']:.0f} ms"
        lines.append(f"| {name} | {seen['seconds']:.1f} s | {seen['megabytes']:+d} MB | {times} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
