"""A real server on loopback: `python -m serving` with a tiny bundle, on a free port."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import requests

from serving.artifact.bundle import Bundle
from serving.artifact.pin import Pin
from serving.config import variable
from tests.repo.imports import ROOT
from tests.serving.bundles import write_bundle

# Limit in seconds for everything that ends by itself. Deadlines that a test must not reach are set longer.
TIMEOUT = 30.0
# Lines of the log that a failed test shows.
SHOWN = 20


@dataclass
class Server:
    """A running server. `session` keeps its connections alive."""

    process: "subprocess.Popen[bytes]"
    port: int
    folder: Path
    session: requests.Session = field(default_factory=requests.Session)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def worker(self) -> psutil.Process:
        """The worker process."""
        (worker,) = psutil.Process(self.process.pid).children()
        return worker

    @property
    def pss(self) -> int:
        """Proportional set size of all processes in MB: shared pages count once."""
        master = psutil.Process(self.process.pid)
        return sum(process.memory_full_info().pss for process in [master, *master.children()]) // 2**20

    def get(self, path: str, **options: Any) -> requests.Response:  # noqa: ANN401  (requests' own)
        return self.session.get(self.url + path, timeout=TIMEOUT, **options)

    def post(self, path: str, **options: Any) -> requests.Response:  # noqa: ANN401  (requests' own)
        return self.session.post(self.url + path, timeout=TIMEOUT, **options)

    def connect(self) -> socket.socket:
        """A bare connection, for requests that no library would send."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT)

    def log(self) -> list[dict[str, Any]]:
        """The lines of the log so far."""
        return [json.loads(line) for line in (self.folder / "log").read_text().splitlines()]

    def stop(self) -> int:
        """Stops it as a process manager does; returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(TIMEOUT)


def publish(folder: Path, **options: Any) -> Path:  # noqa: ANN401  (those of write_bundle)
    """Writes a bundle and its pin, as `make run` leaves them in a workspace."""
    bundle = write_bundle(folder / "models/colours/bundle", **options)
    (folder / "pins").mkdir(exist_ok=True)
    pin = Pin("colours", 3, Bundle.open(bundle).digest)
    (folder / "pins/colours.json").write_bytes(pin.to_bytes())
    return folder


def start_server(folder: Path, **settings: object) -> "subprocess.Popen[bytes]":
    """Starts a server in a folder; `settings` are those of `serving/config.py`, without the prefix.

    There is one worker, unless `workers` says otherwise. Names in capitals are environment variables as they
    are. `descriptors` and `data` limit the number of descriptors and the bytes of memory; `module` is run
    instead of `serving`; `stdout` is the descriptor for standard output, instead of the log file.
    """
    module, stdout = settings.pop("module", "serving"), settings.pop("stdout", None)
    granted = {"nofile": settings.pop("descriptors", None), "data": settings.pop("data", None)}
    limits = [f"--{name}={number}" for name, number in granted.items() if number]
    limit = ["prlimit", *limits] if limits else []
    ours = ("GOLDFISH_", "MLFLOW_", "AIP_", "OTEL_")
    inherited = {name: text for name, text in os.environ.items() if not name.startswith(ours)}
    defaults = {"GOLDFISH_MODEL": "colours", "GOLDFISH_WORKERS": "1"}
    environment = inherited | {"PYTHONPATH": str(ROOT)} | defaults
    for name, value in settings.items():
        environment[name if name.isupper() else variable(name)] = str(value)
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [*limit, sys.executable, "-m", str(module)],
            cwd=folder,
            env=environment,
            stdout=log if stdout is None else int(str(stdout)),
            stderr=subprocess.STDOUT if stdout is None else log,
        )


@contextmanager
def running(folder: Path, **settings: object) -> Iterator[Server]:
    """Starts a server without a drain window, waits until it is ready, and ends it after the block.

    It is ended by SIGQUIT, not SIGINT: a shell starts background jobs with SIGINT ignored, and a process that
    is still starting would inherit that.
    """
    port = int(str(settings.get("port", free_port())))
    process = start_server(folder, **({"drain": 0, "port": port} | settings))
    server = Server(process, port, folder)
    try:
        await_ready(server)
        yield server
    except BaseException as error:
        # Shown by pytest below the failure.
        lines = [line for line in (folder / "log").read_text().splitlines() if '"status":200' not in line]
        error.add_note("\n".join(["the last lines of the server's log:", *lines[-SHOWN:]]))
        raise
    finally:
        server.session.close()
        if process.poll() is None:
            process.send_signal(signal.SIGQUIT)
        try:
            process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def interruptible() -> Iterator[None]:
    """Processes that are started in the block react to SIGINT even if this one ignores it."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def await_ready(server: Server) -> None:
    """Waits until /readyz responds with 200."""
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        if server.process.poll() is not None:
            raise AssertionError(f"the server ended: {(server.folder / 'log').read_text()}")
        try:
            if requests.get(server.url + "/readyz", timeout=TIMEOUT).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.02)
    raise AssertionError("the server did not get ready")


def await_true(condition: Callable[[], bool]) -> None:
    """Waits until a condition holds."""
    end = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < end, "the condition did not become true"
        time.sleep(0.02)


def free_port() -> int:
    """A port that no process listens on.

    It is below the ports of outgoing connections (32768 and up on Linux), in a range that only this test
    process uses: otherwise something else could take it before the server does.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = 10_000 + 2_000 * (worker % 8)
    while True:
        port = random.randrange(first, first + 2_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
