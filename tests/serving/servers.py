"""A real server on loopback: `python -m serving` with a tiny bundle, on a free port."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
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

PATIENCE = 30.0


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
        """The process that answers."""
        (worker,) = psutil.Process(self.process.pid).children()
        return worker

    @property
    def pss(self) -> int:
        """Proportional set size of all processes, MB: pages that they share count once."""
        master = psutil.Process(self.process.pid)
        return sum(process.memory_full_info().pss for process in [master, *master.children()]) // 2**20

    def get(self, path: str, **options: Any) -> requests.Response:  # noqa: ANN401  (requests' own)
        return self.session.get(self.url + path, timeout=PATIENCE, **options)

    def post(self, path: str, **options: Any) -> requests.Response:  # noqa: ANN401  (requests' own)
        return self.session.post(self.url + path, timeout=PATIENCE, **options)

    def connect(self) -> socket.socket:
        """A bare connection, for requests that no library would send."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def log(self) -> list[dict[str, Any]]:
        """The lines of the log so far."""
        return [json.loads(line) for line in (self.folder / "log").read_text().splitlines()]

    def stop(self) -> int:
        """Ends it as a process manager does; gives its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


def publish(folder: Path, **options: Any) -> Path:  # noqa: ANN401  (those of write_bundle)
    """Writes a bundle and its pin, as `make run` leaves them in a workspace."""
    bundle = write_bundle(folder / "models/colours/bundle", **options)
    (folder / "pins").mkdir(exist_ok=True)
    pin = Pin("colours", 3, Bundle.open(bundle).digest)
    (folder / "pins/colours.json").write_bytes(pin.to_bytes())
    return folder


def command(folder: Path, **settings: object) -> "subprocess.Popen[bytes]":
    """Starts a server in a folder; `settings` are those of `serving/config.py`, without the prefix.

    Those in capitals have a name of their own. `descriptors` and `data`: how many descriptors and bytes of
    memory the system lets it have; `module`: what is run; `stdout`: the descriptor that it
    writes to, instead of the log.
    """
    module, stdout = settings.pop("module", "serving"), settings.pop("stdout", None)
    granted = {"nofile": settings.pop("descriptors", None), "data": settings.pop("data", None)}
    limits = [f"--{name}={number}" for name, number in granted.items() if number]
    limit = ["prlimit", *limits] if limits else []
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("GOLDFISH_", "MLFLOW_", "AIP_"))}
    environment = inherited | {"PYTHONPATH": str(ROOT), "GOLDFISH_MODEL": "colours"}
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
    """Starts a server without a drain window, waits until it is ready, and ends it however the test ends."""
    port = int(str(settings.get("port", free_port())))
    process = command(folder, **({"drain": 0, "port": port} | settings))
    server = Server(process, port, folder)
    try:
        await_ready(server)
        yield server
    finally:
        server.session.close()
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def await_ready(server: Server) -> None:
    """Waits for the first answer of /readyz that says so."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if server.process.poll() is not None:
            raise AssertionError(f"the server ended: {(server.folder / 'log').read_text()}")
        try:
            if requests.get(server.url + "/readyz", timeout=PATIENCE).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.02)
    raise AssertionError("the server did not get ready")


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
