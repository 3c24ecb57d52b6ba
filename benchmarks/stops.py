"""Who is lost when the server ends: `python -m benchmarks.stops` writes `benchmarks/stops.json` and a table.

Eight clients ask as fast as they can while the server is told to stop, or its worker is killed. A request is
lost if it was sent on a connection that was there, which nobody had announced to close, and no answer came.
"""

import json
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.documents import ROOT, show
from tests.serving.pictures import encoded
from tests.serving.servers import PATIENCE, Server, await_ready, publish, running
from tests.serving.wire import Answer, post, read

RESULTS = Path(__file__).with_name("stops.json")
DOCUMENT = ROOT / "docs/robustness.md"
TIMES, CLIENTS = 20, 8
# Seconds of load before a signal, and of the drain window.
BEFORE, DRAIN = 0.4, 0.3
# Some milliseconds of work, so that there is always something in flight.
PHOTO = encoded(Image.new("RGB", (800, 600), "red"), "PNG")
REQUEST = {True: post("/inference", PHOTO), False: post("/inference", PHOTO, "Connection: close")}

HEADER = "| what happens | times | answered | refused with a code | lost | of them not in flight |"


@dataclass
class Client:
    """Asks again and again until it is told to end, or until nobody listens any more."""

    server: Server
    keeps: bool
    over: threading.Event
    answered: int = 0
    refused: int = 0
    # When each lost request was begun, a monotonic moment, and how it was lost.
    lost: list[tuple[float, str]] = field(default_factory=list)
    connection: socket.socket | None = None

    def run(self) -> None:
        """Until the end."""
        while not self.over.is_set():
            if (connection := self._connected()) is None:
                if self.server.process.poll() is not None:
                    return
                time.sleep(0.01)
                continue
            began = time.monotonic()
            try:
                connection.sendall(REQUEST[self.keeps])
                self._count(read(connection))
            except OSError as error:
                self.lost.append((began, repr(error)))
                self._close()
        self._close()

    def _count(self, answer: Answer) -> None:
        if answer.status == 200:
            self.answered += 1
        elif answer.status == 503:
            self.refused += 1
        else:
            raise AssertionError(f"unexpected answer: {answer}")
        if answer.closed or not self.keeps:
            self._close()

    def _connected(self) -> socket.socket | None:
        """A connection that is there as far as a client can tell, or none."""
        if self.connection is not None and self._ended(self.connection):
            self._close()
        if self.connection is None:
            try:
                self.connection = self.server.connect()
            except OSError:
                return None
        return self.connection

    def _ended(self, connection: socket.socket) -> bool:
        """Has the server closed it? Then whatever is sent on it is not its business."""
        connection.setblocking(False)
        try:
            return not connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        finally:
            connection.settimeout(PATIENCE)

    def _close(self) -> None:
        if self.connection is not None:
            self.connection.close()
        self.connection = None


@contextmanager
def load(server: Server, keeps: list[bool]) -> Iterator[list[Client]]:
    """Clients at work while the block runs."""
    over = threading.Event()
    clients = [Client(server, kept, over) for kept in keeps]
    with ThreadPoolExecutor(len(clients)) as pool:
        running: list[Future[None]] = [pool.submit(client.run) for client in clients]
        try:
            yield clients
        finally:
            over.set()
        for work in running:
            work.result()


def summary(clients: list[Client], signals: list[float]) -> dict[str, Any]:
    """What became of all requests. In flight is what began before a signal, and after the one before."""
    lost = [began for client in clients for began, _ in client.lost]
    return {
        "answered": sum(client.answered for client in clients),
        "refused": sum(client.refused for client in clients),
        "lost": len(lost),
        "not_in_flight": len(lost) - sum(in_flight(client, signals) for client in clients),
        "how": sorted({how for client in clients for _, how in client.lost}),
    }


def in_flight(client: Client, signals: list[float]) -> int:
    """How many lost requests of a client may have been in flight: one for each signal, begun before it."""
    begun = sorted(began for began, _ in client.lost)
    taken: set[float] = set()
    for moment in signals:
        # A client has one request at a time, so of its lost ones only the last before a signal was at work.
        before = [began for began in begun if began <= moment and began not in taken]
        taken |= set(before[-1:])
    return len(taken)


def stop(folder: Path, keeps: list[bool], drain: float = DRAIN) -> dict[str, Any]:
    """One graceful stop under load."""
    with running(folder, drain=drain) as server, load(server, keeps) as clients:
        time.sleep(BEFORE)
        server.process.send_signal(signal.SIGTERM)
        code = server.process.wait(PATIENCE)
    if code:
        raise AssertionError((folder / "log").read_text())
    return summary(clients, [])


def kills(folder: Path, times: int, keeps: list[bool]) -> dict[str, Any]:
    """The worker of a server is killed again and again under load."""
    moments = []
    with running(folder) as server:
        with load(server, keeps) as clients:
            for _ in range(times):
                time.sleep(BEFORE)
                worker = server.worker
                worker.kill()
                # What begins until the process is gone finds its connections still there.
                worker.wait(PATIENCE)
                moments.append(time.monotonic())
                await_ready(server)
        return summary(clients, moments)


def main() -> None:
    """Stops and kills, and writes who was lost."""
    results: dict[str, Any] = {"clients": CLIENTS, "drain": DRAIN, "cases": {}}
    cases = {
        "SIGTERM, clients that keep their connections": ("stop", [True] * CLIENTS),
        "SIGTERM, a connection for each request": ("stop", [False] * CLIENTS),
        "SIGKILL of the worker, half of the clients each": ("kill", [True, False] * (CLIENTS // 2)),
    }
    for name, (kind, keeps) in cases.items():
        with tempfile.TemporaryDirectory() as folder:
            place = publish(Path(folder))
            every = (
                [kills(place, TIMES, keeps)] if kind == "kill" else [stop(place, keeps) for _ in range(TIMES)]
            )
        counted = ("answered", "refused", "lost", "not_in_flight")
        seen = {key: sum(one[key] for one in every) for key in counted}
        results["cases"][name] = seen | {
            "times": TIMES,
            "how": sorted({h for one in every for h in one["how"]}),
        }
        print(f"{name}: {results['cases'][name]}", flush=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    show(DOCUMENT, "stops", table(results))


def table(results: dict[str, Any]) -> str:
    """The results as the manual shows them."""
    lines = [HEADER, "| --- | --- | --- | --- | --- | --- |"]
    for name, seen in results["cases"].items():
        figures = (f"{seen[key]:,}" for key in ("times", "answered", "refused", "lost", "not_in_flight"))
        lines.append(f"| {name} | {' | '.join(figures)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
