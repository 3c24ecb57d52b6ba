"""The event loop of a worker: calls the callback of each event, and keeps the connections that wait."""

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from selectors import EVENT_READ
from typing import Any

from serving.log import LOG
from serving.server.connections import Connection, ConnectionTable, WaitList
from serving.server.gunicorn_seam import GunicornWorker

# How often the event loop closes overdue connections and sends the heartbeat to the master process.
TICK_SECONDS = 0.25
# How long a silent client may delay a graceful stop.
SHUTDOWN_LINGER_SECONDS = 1.0
# The worker process ends after so many failed steps in a row that concern no single connection.
MAX_FAILURES = 10


class EventLoop(GunicornWorker):
    """Runs the steps of the loop so that a failure costs no more than one connection."""

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401  (Gunicorn's own)
        super().__init__(*arguments, **named)
        self.connections = ConnectionTable()
        # Kept alive, without a byte of the next request. The base class reads its length.
        self.keepalived_conns: WaitList = {}
        self.reading_heads: WaitList = {}
        self.sending: WaitList = {}
        self.lingering: WaitList = {}
        # Connections whose request is queued or runs in a thread.
        self.in_progress: set[Connection] = set()
        # Failed steps in a row.
        self.failures = 0

    def after_event(self) -> None:
        """Called after the callback of each event."""

    def guard(self, conn: Connection | None, step: Callable[..., object], *arguments: object) -> None:
        """Runs a step of the event loop. If it raises, closes its connection, or pauses if it has none.

        Without the pause an event that stays pending would fail again at once and keep a core busy for ever.
        """
        try:
            step(*arguments)
        # Whatever fails, the other connections must go on.
        except Exception:  # noqa: BLE001
            LOG.exception("a step of the event loop failed", extra={"fields": {"code": "loop_failed"}})
            if conn:
                self.close_connection(conn)
                return
            self.failures += 1
            if self.failures >= MAX_FAILURES:
                # The master process starts another worker.
                self.alive = False
            time.sleep(TICK_SECONDS)

    def handle_events(self) -> None:
        """Waits for events, at most a tick, and calls the callback of each."""
        for key, _ in self.poller.select(TICK_SECONDS):
            # A callback of this round may have closed the connection, and its descriptor may be in use again.
            if self.poller.get_map().get(key.fd) is not key:
                continue
            conn = key.data.args[0] if isinstance(key.data, partial) else None
            self.guard(conn, key.data, key.fileobj)
            self.after_event()

    def wait_for_client(
        self,
        conn: Connection,
        wait_list: WaitList,
        callback: Callable[..., None],
        seconds: float,
        event: int = EVENT_READ,
    ) -> None:
        """Has a callback called on the next event of a connection, within a deadline."""
        conn.timeout = time.monotonic() + seconds
        self.connections.start_waiting(conn, wait_list)
        self.poller.register(conn.sock, event, callback)

    def stop_waiting(self, conn: Connection) -> None:
        if conn.wait_list is not None:
            self.connections.stop_waiting(conn)
            # A failure before the registration leaves the connection in a list without it.
            with suppress(KeyError, ValueError, OSError):
                self.poller.unregister(conn.sock)

    def take_overdue(self, wait_list: WaitList) -> list[Connection]:
        """Removes and returns the connections whose deadline has passed."""
        now, overdue = time.monotonic(), []
        for conn in wait_list:
            if conn.timeout <= now:
                overdue.append(conn)
            elif self.alive:
                # The list is in the order of deadlines, until a graceful stop shortens them.
                break
        for conn in overdue:
            self.stop_waiting(conn)
        return overdue

    def cap_seconds(self, seconds: float) -> float:
        """A time limit for a silent client: short during a graceful stop."""
        return seconds if self.alive else min(seconds, SHUTDOWN_LINGER_SECONDS)

    def close_connection(self, conn: Connection) -> None:
        """Closes the socket and forgets the connection."""
        self.stop_waiting(conn)
        self.in_progress.discard(conn)
        self.connections.discard(conn)
        conn.close()
