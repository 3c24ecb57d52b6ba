"""A Service and its clients, and the rolling update of a Deployment."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from threading import Event, Lock, Thread

from tests.deploy.kubernetes.pods import Pod
from tests.deploy.kubernetes.rendered import Document
from tests.serving.bundles import COLOURS, one_colour_png

# Seconds after SIGTERM in which clients still send requests to a pod: what removes its endpoint learns of its
# end later than the pod itself.
LAG_SECONDS = 2.0
CLIENTS = 4
# Seconds between two requests of a client, so that the clients do not take the cores that the pods need.
PAUSE_SECONDS = 0.004
RED = one_colour_png(COLOURS["red"])


@dataclass
class Service:
    """Sends requests to pods in turn: to those that are ready, and a while longer to those that end."""

    pods: list[Pod] = field(default_factory=list)

    def endpoints(self) -> list[Pod]:
        now = time.monotonic()
        return [
            pod
            for pod in self.pods
            if (pod.ready if pod.deleted_at is None else now < pod.deleted_at + LAG_SECONDS)
        ]


@dataclass
class Traffic:
    """What the clients have got: how many answers of each digest, and what was no answer."""

    answers: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    # Endpoints at the time of the request that had fewest.
    fewest: int = sys.maxsize
    lock: Lock = field(default_factory=Lock)

    def record(self, digest: str, endpoints: int) -> None:
        with self.lock:
            self.answers[digest] += 1
            self.fewest = min(self.fewest, endpoints)

    def lose(self, reason: str) -> None:
        with self.lock:
            self.lost.append(reason)


def _send(connection: HTTPConnection) -> str:
    """Classifies an image; returns the digest of the model. Raises `HTTPException` for any other status."""
    connection.request("POST", "/inference", RED)
    response = connection.getresponse()
    body = response.read()
    if response.status != 200:
        raise HTTPException(f"{response.status} {body.decode(errors='replace')}")
    return response.headers["X-Model-Digest"]


def _run_client(service: Service, traffic: Traffic, stop: Event, keep: bool) -> None:
    """Sends requests until `stop` is set; `keep`: on one connection to each pod."""
    connections: dict[int, HTTPConnection] = {}
    turn = 0
    while not stop.wait(PAUSE_SECONDS):
        endpoints = service.endpoints()
        if not endpoints:
            traffic.lose("no endpoint")
            return
        turn += 1
        port = endpoints[turn % len(endpoints)].port
        connection = connections.setdefault(port, HTTPConnection("127.0.0.1", port, timeout=10))
        try:
            traffic.record(_send(connection), len(endpoints))
        except (OSError, HTTPException) as error:
            traffic.lose(f"{type(error).__name__}: {error}")
            connection.close()
        if not keep:
            connection.close()
    for connection in connections.values():
        connection.close()


@contextmanager
def requests_to(service: Service) -> Iterator[Traffic]:
    """Clients send requests during the block, half of them on connections that they keep."""
    traffic, stop = Traffic(), Event()
    clients = [
        Thread(target=_run_client, args=(service, traffic, stop, bool(number % 2)))
        for number in range(CLIENTS)
    ]
    for client in clients:
        client.start()
    try:
        yield traffic
    finally:
        stop.set()
        for client in clients:
            client.join()


def roll_out(service: Service, deployment: Document, make: Callable[[], Pod]) -> list[Pod]:
    """Replaces all pods as the Deployment's strategy says; returns those before, which may still drain."""
    strategy = deployment["spec"]["strategy"]
    assert strategy["type"] == "RollingUpdate"
    surge = strategy["rollingUpdate"]["maxSurge"]
    assert strategy["rollingUpdate"]["maxUnavailable"] == 0
    waiting = list(service.pods)
    replaced = []
    while waiting:
        fresh = [make().start() for _ in waiting[:surge]]
        service.pods += fresh
        for pod in fresh:
            pod.await_ready()
            replaced.append(waiting.pop(0))
            replaced[-1].delete()
    return replaced
