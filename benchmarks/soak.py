"""Sends 36,000 valid and hostile requests, an hour at ten a second: `python -m benchmarks.soak`.

Takes a minute or two. Writes `benchmarks/soak.json` and a table in `docs/robustness.md`.
"""

import random
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.documents import ROBUSTNESS, markdown_table, replace_section, write_json
from benchmarks.sampling import sampled
from tests.serving.images import CORPUS, black_png, encode_image
from tests.serving.model.test_images_are_refused import REFUSED
from tests.serving.server.test_overload import SLOW
from tests.serving.servers import Server, publish, running
from tests.serving.wire import chunked, head, post, read

REQUESTS = 36_000
# Seconds; the server's deadlines for request heads and bodies, shortened so that stalled clients reach them.
DEADLINE = 3.0
CLIENTS = 8
# After every so many requests, a client also makes a hostile one.
HOSTILE_EVERY = 40
# Share of the requests that are sent before memory is measured, while tables and caches fill up.
WARM_UP = 0.15
RESULTS = Path(__file__).with_name("soak.json")
DOCUMENT = ROBUSTNESS

NOISE = np.random.default_rng(1).integers(0, 256, (480, 640, 3), dtype=np.uint8)
PHOTO = encode_image(Image.fromarray(NOISE), "JPEG", quality=80)
CAMERA = encode_image(Image.new("RGB", (4000, 3000), "blue"), "JPEG")

Request = tuple[bytes, int]


def complete_requests() -> list[Request]:
    """Complete requests with their expected statuses; most hold a valid image."""
    images = [data for data, _ in CORPUS.values()] + [PHOTO] * 40 + [CAMERA] * 4
    refused = [data for data, _, _ in REFUSED.values()]
    requests: list[Request] = [(post("/inference", data), 200) for data in images]
    requests += [(post("/predict?top=1", data), 200) for data in images]
    requests += [(chunked("/inference", PHOTO[:30_000], PHOTO[30_000:]), 200)]
    requests += [
        (head("GET", path), 200) for path in ("/", "/livez", "/readyz", "/version", "/model", "/metrics")
    ]
    # Any status of 400 to 499 is accepted; tests/serving/model checks which one.
    requests += [(post("/inference", data), 400) for data in refused]
    requests += [(head("GET", f"/nowhere/{number}"), 404) for number in range(5)]
    requests += [(head("DELETE", "/predict"), 405), (post("/predict?top=nothing", PHOTO), 400)]
    return requests


def stall(server: Server, rng: random.Random) -> None:
    """Sends the beginning of a request, and pauses or disconnects."""
    beginning = rng.choice([b"", b"POST", head("POST", "/inference", "Content-Length: 1000"), PHOTO])
    with server.connect() as connection:
        connection.sendall(beginning)
        time.sleep(rng.choice([0.0, 0.2]))


def reset(server: Server, rng: random.Random) -> None:
    """Sends a part of a body and resets the connection."""
    with server.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.sendall(
            head("POST", "/predict", f"Content-Length: {len(PHOTO)}") + PHOTO[: rng.randrange(9)]
        )


def send_oversized_body(server: Server, rng: random.Random) -> None:
    """Sends up to 40 MiB in chunks, twice the limit, until the server closes the connection."""
    with server.connect() as connection, suppress(OSError):
        connection.sendall(head("POST", "/inference", "Transfer-Encoding: chunked"))
        for _ in range(rng.randrange(40)):
            connection.sendall(b"100000\r\n" + bytes(2**20) + b"\r\n")


def send_decompression_bomb(server: Server, rng: random.Random) -> None:
    """Sends an image of few bytes and many pixels, below the limit of pixels or above it."""
    with server.connect() as connection:
        connection.sendall(post("/inference", rng.choice([SLOW, black_png(9000), black_png(4900)])))
        read(connection)


def send_garbage(server: Server, rng: random.Random) -> None:
    """Sends random bytes that are not HTTP."""
    with server.connect() as connection, suppress(OSError):
        connection.sendall(rng.randbytes(rng.randrange(1, 5000)) + b"\r\n\r\n")
        connection.recv(65536)


def disconnect(server: Server, rng: random.Random) -> None:
    """Sends a request and disconnects before the response."""
    with server.connect() as connection:
        connection.sendall(post("/inference", PHOTO))


HOSTILE: list[Callable[[Server, random.Random], None]] = [
    stall,
    reset,
    send_oversized_body,
    send_decompression_bomb,
    send_garbage,
    disconnect,
]


class Client(threading.Thread):
    """Sends its share of the requests on a persistent connection, and hostile ones on other connections."""

    def __init__(self, server: Server, seed: int, requests: int) -> None:
        super().__init__()
        self.server, self.requests = server, requests
        self.rng = random.Random(seed)  # noqa: S311  (the same mix every time)
        self.statuses: Counter[int] = Counter()
        self.wrong: list[str] = []

    def run(self) -> None:
        """Counts statuses; records lost requests and unexpected statuses. 503 may follow any request."""
        requests = complete_requests()
        with ExitStack() as stack:
            connection = stack.enter_context(self.server.connect())
            for number in range(self.requests):
                request, expected = self.rng.choice(requests)
                try:
                    connection.sendall(request)
                    response = read(connection)
                except OSError as error:
                    self.wrong.append(f"lost: {request[:60]!r}: {error!r}")
                    connection = stack.enter_context(self.server.connect())
                    continue
                self.statuses[response.status] += 1
                if response.status != 503 and response.status // 100 != expected // 100:
                    self.wrong.append(f"{response.status}: {request[:60]!r}")
                if response.closed:
                    connection = stack.enter_context(self.server.connect())
                if number % HOSTILE_EVERY == 0:
                    with suppress(OSError):
                        self.rng.choice(HOSTILE)(self.server, self.rng)


def send(server: Server, requests: int, seed: int) -> tuple[Counter[int], list[str]]:
    """Sends requests from several clients; returns the number of each status, and what went wrong."""
    clients = [Client(server, 100 * seed + number, requests // CLIENTS) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    statuses = sum((client.statuses for client in clients), Counter[int]())
    return statuses, [text for client in clients for text in client.wrong]


def measure(server: Server, requests: int = REQUESTS) -> dict[str, Any]:
    """Sends the requests; returns statuses, what went wrong, and memory (PSS of all processes, MB)."""
    _, wrong_in_warm_up = send(server, int(WARM_UP * requests), seed=1)
    before, began = server.pss, time.monotonic()
    with sampled(lambda: server.pss, interval=0.1) as memory:
        statuses, wrong = send(server, int((1 - WARM_UP) * requests), seed=2)
        seconds = time.monotonic() - began
    # By then the server has closed the connections of stalled clients.
    time.sleep(2 * DEADLINE)
    return {
        "requests": statuses.total(),
        "seconds": round(seconds),
        "statuses": {str(status): count for status, count in sorted(statuses.items())},
        "wrong": wrong_in_warm_up + wrong,
        "pss_before": before,
        "pss_after": server.pss,
        "pss_peak": max(memory),
    }


def table(results: dict[str, Any]) -> str:
    """The section of docs/robustness.md."""
    statuses = ", ".join(f"{count:,} with {status}" for status, count in results["statuses"].items())
    memory = f"{results['pss_before']}, {results['pss_after']}, {results['pss_peak']} MB"
    row = (f"{results['requests']:,}", f"{results['seconds']} s", statuses, len(results["wrong"]), memory)
    return markdown_table(
        ["requests", "in", "answered", "lost or wrong", "PSS before, after, at most"], [row]
    )


def main() -> None:
    """Measures, writes the results and shows them in the document."""
    deadlines = {"head_seconds": DEADLINE, "body_seconds": DEADLINE}
    with tempfile.TemporaryDirectory() as folder, running(publish(Path(folder)), **deadlines) as server:
        results = measure(server)
    write_json(RESULTS, results)
    replace_section(DOCUMENT, "soak", table(results))


if __name__ == "__main__":
    main()
