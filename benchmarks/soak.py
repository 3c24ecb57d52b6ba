"""An hour's worth of requests, ten a second, good and hostile ones mixed: `python -m benchmarks.soak`.

It takes a minute or two, and writes `benchmarks/soak.json` and a table.
"""

import json
import random
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.documents import ROOT, show
from tests.serving.model.test_images_are_refused import REFUSED
from tests.serving.pictures import CORPUS, bilevel, encoded
from tests.serving.server.test_overload import SLOW
from tests.serving.servers import Server, publish, running
from tests.serving.wire import chunked, head, post, read

REQUESTS = 36_000
# Seconds that a head or a body may take here; clients that stall do so for less or for more.
DEADLINE = 1.0
CLIENTS = 8
# A request of this many is followed by something that no good client does.
HOSTILE_EVERY = 40
# Tables and caches fill up at first.
WARM_UP = 0.15
RESULTS = Path(__file__).with_name("soak.json")
DOCUMENT = ROOT / "docs/robustness.md"

NOISE = np.random.default_rng(1).integers(0, 256, (480, 640, 3), dtype=np.uint8)
PHOTO = encoded(Image.fromarray(NOISE), "JPEG", quality=80)
CAMERA = encoded(Image.new("RGB", (4000, 3000), "blue"), "JPEG")

Request = tuple[bytes, int]


def good_requests() -> list[Request]:
    """Whole requests with the status that each must get; most are what servers are for."""
    pictures = [data for data, _ in CORPUS.values()] + [PHOTO] * 40 + [CAMERA] * 4
    refused = [data for data, _, _ in REFUSED.values()]
    found: list[Request] = [(post("/inference", data), 200) for data in pictures]
    found += [(post("/predict?top=1", data), 200) for data in pictures]
    found += [(chunked("/inference", PHOTO[:30_000], PHOTO[30_000:]), 200)]
    found += [
        (head("GET", path), 200) for path in ("/", "/livez", "/readyz", "/version", "/model", "/metrics")
    ]
    # Refused for what they are; which status, other tests say.
    found += [(post("/inference", data), 400) for data in refused]
    found += [(head("GET", f"/nowhere/{number}"), 404) for number in range(5)]
    found += [(head("DELETE", "/predict"), 405), (post("/predict?top=nothing", PHOTO), 400)]
    return found


def stall(server: Server, chance: random.Random) -> None:
    """Begins a request, and then says nothing for a while, or goes."""
    beginning = chance.choice([b"", b"POST", head("POST", "/inference", "Content-Length: 1000"), PHOTO])
    with server.connect() as connection:
        connection.sendall(beginning)
        time.sleep(chance.choice([0.0, 0.2]))


def break_off(server: Server, chance: random.Random) -> None:
    """Sends a part of a body, and resets the connection."""
    with server.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.sendall(
            head("POST", "/predict", f"Content-Length: {len(PHOTO)}") + PHOTO[: chance.randrange(9)]
        )


def flood(server: Server, chance: random.Random) -> None:
    """Sends more than the limit allows, in chunks and without a length, until it is stopped."""
    with server.connect() as connection, suppress(OSError):
        connection.sendall(head("POST", "/inference", "Transfer-Encoding: chunked"))
        for _ in range(chance.randrange(40)):
            connection.sendall(b"100000\r\n" + bytes(2**20) + b"\r\n")


def bomb(server: Server, chance: random.Random) -> None:
    """Sends pictures that are small as files and large as pixels: legal ones, and too large ones."""
    with server.connect() as connection:
        connection.sendall(post("/inference", chance.choice([SLOW, bilevel(9000), bilevel(4900)])))
        read(connection)


def babble(server: Server, chance: random.Random) -> None:
    """Sends what is no HTTP."""
    with server.connect() as connection, suppress(OSError):
        connection.sendall(chance.randbytes(chance.randrange(1, 5000)) + b"\r\n\r\n")
        connection.recv(65536)


def leave(server: Server, chance: random.Random) -> None:
    """Asks, and does not wait for the answer."""
    with server.connect() as connection:
        connection.sendall(post("/inference", PHOTO))


HOSTILE: list[Callable[[Server, random.Random], None]] = [stall, break_off, flood, bomb, babble, leave]


class Client(threading.Thread):
    """Sends its share of the requests on one connection; now and then it is hostile on another one."""

    def __init__(self, server: Server, seed: int, requests: int) -> None:
        super().__init__()
        self.server, self.requests = server, requests
        self.chance = random.Random(seed)  # noqa: S311  (the same mix every time)
        self.statuses: Counter[int] = Counter()
        self.wrong: list[str] = []

    def run(self) -> None:
        """Counts statuses, and whatever was not answered as it must be."""
        choice = good_requests()
        with ExitStack() as stack:
            connection = stack.enter_context(self.server.connect())
            for number in range(self.requests):
                request, expected = self.chance.choice(choice)
                try:
                    connection.sendall(request)
                    answer = read(connection)
                except OSError as error:
                    self.wrong.append(f"lost: {request[:60]!r}: {error!r}")
                    connection = stack.enter_context(self.server.connect())
                    continue
                self.statuses[answer.status] += 1
                if answer.status != 503 and answer.status // 100 != expected // 100:
                    self.wrong.append(f"{answer.status}: {request[:60]!r}")
                if answer.closed:
                    connection = stack.enter_context(self.server.connect())
                if number % HOSTILE_EVERY == 0:
                    with suppress(OSError):
                        self.chance.choice(HOSTILE)(self.server, self.chance)


def run(server: Server, requests: int, seed: int) -> tuple[Counter[int], list[str]]:
    """Several clients at once; gives the statuses, and all that went wrong."""
    clients = [Client(server, 100 * seed + number, requests // CLIENTS) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    statuses = sum((client.statuses for client in clients), Counter[int]())
    return statuses, [text for client in clients for text in client.wrong]


def measure(server: Server) -> dict[str, Any]:
    """Sends all of it; gives statuses, what went wrong, and the memory of all processes (PSS, MB)."""
    _, wrong = run(server, int(WARM_UP * REQUESTS), seed=1)
    before, began, stop = server.pss, time.monotonic(), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        peak = pool.submit(watch, server, stop)
        statuses, more = run(server, int((1 - WARM_UP) * REQUESTS), seed=2)
        stop.set()
    seconds = time.monotonic() - began
    # Until the last stalled clients are gone.
    time.sleep(2 * DEADLINE)
    return {
        "requests": statuses.total(),
        "seconds": round(seconds),
        "statuses": {str(status): count for status, count in sorted(statuses.items())},
        "wrong": wrong + more,
        "pss_before": before,
        "pss_after": server.pss,
        "pss_peak": peak.result(),
    }


def watch(server: Server, stop: threading.Event) -> int:
    """The highest PSS until it is told to stop, MB."""
    highest = 0
    while not stop.wait(0.1):
        highest = max(highest, server.pss)
    return highest


def table(results: dict[str, Any]) -> str:
    """The results as the manual shows them."""
    statuses = ", ".join(f"{count:,} with {status}" for status, count in results["statuses"].items())
    return (
        "| requests | in | answered | lost or wrong | PSS before, after, at most |\n"
        "| --- | --- | --- | --- | --- |\n"
        f"| {results['requests']:,} | {results['seconds']} s | {statuses} | {len(results['wrong'])} | "
        f"{results['pss_before']}, {results['pss_after']}, {results['pss_peak']} MB |\n"
    )


def main() -> None:
    """Measures and writes."""
    deadlines = {"head_seconds": DEADLINE, "body_seconds": DEADLINE}
    with tempfile.TemporaryDirectory() as folder, running(publish(Path(folder)), **deadlines) as server:
        results = measure(server)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    show(DOCUMENT, "soak", table(results))
    print(table(results))


if __name__ == "__main__":
    main()
