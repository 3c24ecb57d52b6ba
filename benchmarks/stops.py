"""Counts the requests that a stopping server loses: `python -m benchmarks.stops`.

Eight clients send requests as fast as they can while the server is stopped, or its worker is killed. A
request is lost if it got no response although its connection was open, and the response before it had not
announced `Connection: close`. Writes `benchmarks/stops.json` and a table in `docs/robustness.md`.
"""

import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.documents import ROBUSTNESS, markdown_table, replace_section, write_json
from tests.serving.images import encode_image
from tests.serving.servers import TIMEOUT, Server, await_ready, publish, running
from tests.serving.wire import RawResponse, post, read

RESULTS = Path(__file__).with_name("stops.json")
DOCUMENT = ROBUSTNESS
REPETITIONS, CLIENTS = 20, 8
# Seconds of load before a signal, and of the drain window.
LOAD_SECONDS, DRAIN = 0.4, 0.3
# It takes some milliseconds, so that requests are in flight at any time.
PHOTO = encode_image(Image.new("RGB", (800, 600), "red"), "PNG")
PERSISTENT_REQUEST = post("/inference", PHOTO)
CLOSING_REQUEST = post("/inference", PHOTO, "Connection: close")

COUNTS = ("answered", "refused", "lost", "not_in_flight")
COLUMNS = ("what happens", "times", "answered", "refused with a code", "lost", "of them not in flight")


@dataclass
class Client:
    """Sends requests until `over` is set or the server has exited."""

    server: Server
    persistent: bool
    over: threading.Event
    answered: int = 0
    refused: int = 0
    # When each lost request was begun (monotonic time), and the error.
    lost: list[tuple[float, str]] = field(default_factory=list)
    connection: socket.socket | None = None

    def run(self) -> None:
        """Runs in a thread of its own."""
        while not self.over.is_set():
            if (connection := self._open_connection()) is None:
                if self.server.process.poll() is not None:
                    return
                time.sleep(0.01)
                continue
            began = time.monotonic()
            try:
                connection.sendall(PERSISTENT_REQUEST if self.persistent else CLOSING_REQUEST)
                self._count(read(connection))
            except OSError as error:
                self.lost.append((began, repr(error)))
                self._close()
        self._close()

    def _count(self, response: RawResponse) -> None:
        if response.status == 200:
            self.answered += 1
        elif response.status == 503:
            self.refused += 1
        else:
            raise AssertionError(f"unexpected response: {response}")
        if response.closed or not self.persistent:
            self._close()

    def _open_connection(self) -> socket.socket | None:
        """A connection that is open as far as a client can see, or None if the server does not listen."""
        if self.connection is not None and self._closed_by_server(self.connection):
            self._close()
        if self.connection is None:
            try:
                self.connection = self.server.connect()
            except OSError:
                return None
        return self.connection

    def _closed_by_server(self, connection: socket.socket) -> bool:
        """Whether the server has closed it; a request sent on it would not count as lost."""
        connection.setblocking(False)
        try:
            return not connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        finally:
            connection.settimeout(TIMEOUT)

    def _close(self) -> None:
        if self.connection is not None:
            self.connection.close()
        self.connection = None


@contextmanager
def load(server: Server, persistent: list[bool]) -> Iterator[list[Client]]:
    """Runs clients during the block; `persistent` says of each whether it keeps its connection."""
    over = threading.Event()
    clients = [Client(server, each, over) for each in persistent]
    with ThreadPoolExecutor(len(clients)) as pool:
        threads = [pool.submit(client.run) for client in clients]
        try:
            yield clients
        finally:
            over.set()
        for thread in threads:
            thread.result()


def summarise(clients: list[Client], signals: list[float]) -> dict[str, Any]:
    """Counts of all requests. `signals` are the monotonic times at which the worker was killed."""
    lost = sum(len(client.lost) for client in clients)
    return {
        "answered": sum(client.answered for client in clients),
        "refused": sum(client.refused for client in clients),
        "lost": lost,
        "not_in_flight": lost - sum(count_in_flight(client, signals) for client in clients),
        "how": sorted({error for client in clients for _, error in client.lost}),
    }


def count_in_flight(client: Client, signals: list[float]) -> int:
    """How many lost requests of a client were in flight at a signal.

    A client has one request at a time, so it is at most one for each signal: the last that began before it.
    """
    begun = sorted(began for began, _ in client.lost)
    counted: set[float] = set()
    for moment in signals:
        before = [began for began in begun if began <= moment and began not in counted]
        counted |= set(before[-1:])
    return len(counted)


def stop(folder: Path, persistent: list[bool], drain: float = DRAIN) -> dict[str, Any]:
    """Stops a server gracefully under load."""
    with running(folder, drain=drain) as server, load(server, persistent) as clients:
        time.sleep(LOAD_SECONDS)
        server.process.send_signal(signal.SIGTERM)
        code = server.process.wait(TIMEOUT)
    if code:
        raise AssertionError((folder / "log").read_text())
    return summarise(clients, [])


def kills(folder: Path, times: int, persistent: list[bool]) -> dict[str, Any]:
    """Kills the worker of a server several times under load."""
    moments = []
    with running(folder) as server:
        with load(server, persistent) as clients:
            for _ in range(times):
                time.sleep(LOAD_SECONDS)
                worker = server.worker
                worker.kill()
                # Requests that begin before the process has exited still find their connections open.
                worker.wait(TIMEOUT)
                moments.append(time.monotonic())
                await_ready(server)
        return summarise(clients, moments)


def main() -> None:
    """Measures, writes the results and shows them in the document."""
    results: dict[str, Any] = {"clients": CLIENTS, "drain": DRAIN, "cases": {}}
    cases = {
        "SIGTERM, clients that keep their connections": (stop, [True] * CLIENTS),
        "SIGTERM, a connection for each request": (stop, [False] * CLIENTS),
        "SIGKILL of the worker, half of the clients each": (kills, [True, False] * (CLIENTS // 2)),
    }
    for name, (action, persistent) in cases.items():
        with tempfile.TemporaryDirectory() as temporary:
            folder = publish(Path(temporary))
            if action is kills:
                runs = [kills(folder, REPETITIONS, persistent)]
            else:
                runs = [stop(folder, persistent) for _ in range(REPETITIONS)]
        case: dict[str, Any] = {key: sum(run[key] for run in runs) for key in COUNTS}
        case |= {"times": REPETITIONS, "how": sorted({error for run in runs for error in run["how"]})}
        results["cases"][name] = case
        print(f"{name}: {case}", flush=True)
    write_json(RESULTS, results)
    replace_section(DOCUMENT, "stops", table(results))


def table(results: dict[str, Any]) -> str:
    """The section of docs/robustness.md."""
    keys = ("times", *COUNTS)
    rows = [(name, *(f"{case[key]:,}" for key in keys)) for name, case in results["cases"].items()]
    return markdown_table(COLUMNS, rows)


if __name__ == "__main__":
    main()
