"""`python -m serving`, but steps of the event loop fail where a request's path names them, or always."""

import os
import sys

from serving.__main__ import main
from serving.server.connections import Connection
from serving.server.worker import Worker

STEPS = (
    "dispatch",
    "complete_request",
    "continue_connection",
    "refuse_slow_head",
    "close_if_silent",
    "discard_input",
)
# A step that fails in every round, if the environment names one.
FAILS_ALWAYS = os.environ.pop("FAILING", "")


def make_failing(name: str) -> None:
    """Makes a step fail for requests to `/fail<name>`, or for a connection's step after `/later<name>`."""
    method = getattr(Worker, name)

    def fail(self: Worker, conn: Connection, *arguments: object) -> object:
        if f"/fail{name}".encode() in conn.head or getattr(conn, "fails", "") == name:
            raise RuntimeError(name)
        if b"/later" in conn.head:
            conn.fails = conn.head.partition(b"/later")[2].split()[0].decode()
        return method(self, conn, *arguments)

    setattr(Worker, name, fail)


def fail_always(self: Worker) -> None:
    """A step that concerns no single connection and always fails."""
    raise RuntimeError(FAILS_ALWAYS)


if __name__ == "__main__":
    for step in STEPS:
        make_failing(step)
    if FAILS_ALWAYS:
        setattr(Worker, FAILS_ALWAYS, fail_always)
    sys.exit(main([]))
