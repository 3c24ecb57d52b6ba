"""`python -m serving`, but steps of the worker's event loop fail where a path names them, or always."""

import os
import sys

from serving.__main__ import main
from serving.server.connections import Connection
from serving.server.worker import PatientWorker

# Fails in every round, if the environment says so.
ALWAYS = os.environ.pop("FAILING", "")


def trap(name: str) -> None:
    """Has a method of the worker fail on connections that have asked for that."""
    method = getattr(PatientWorker, name)

    def fail(self: PatientWorker, conn: Connection, *arguments: object) -> object:
        if f"/fail{name}".encode() in conn.head or getattr(conn, "fails", "") == name:
            raise RuntimeError(name)
        if b"/later" in conn.head:
            conn.fails = conn.head.partition(b"/later")[2].split()[0].decode()
        return method(self, conn, *arguments)

    setattr(PatientWorker, name, fail)


def fail_always(self: PatientWorker) -> None:
    """As a fault in what looks after all connections would."""
    raise RuntimeError(ALWAYS)


if __name__ == "__main__":
    for each in ("enqueue_req", "finish_request", "_go_on", "_too_slow", "_let_go", "_on_lingering"):
        trap(each)
    if ALWAYS:
        setattr(PatientWorker, ALWAYS, fail_always)
    sys.exit(main([]))
