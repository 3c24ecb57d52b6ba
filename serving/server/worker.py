"""The worker process: a Gunicorn worker in which no slow, hostile or stuck client delays the others.

Gunicorn's threaded worker (gthread 26.2) gives each new connection a thread, which waits for the client and
reads and writes without time limits. It lingers over closed connections in the loop that accepts new ones,
loses a request that arrived together with the one before, and ends when the process is out of descriptors.
So a few odd clients stop the server, its health checks included. This worker replaces its event loop:

| guarantee | by |
| --- | --- |
| a thread gets a request only when its head is complete | `connection_lifecycle` |
| heads and responses have deadlines, which a trickle of bytes does not extend | `connection_lifecycle` |
| so have bodies, and a minimum rate | `client_socket` |
| the framing of chunked bodies is bounded | `chunked_body` |
| the event loop sends what a client does not accept at once, and lingers | `connection_lifecycle` |
| a failed step of the event loop costs one connection and is logged | `event_loop` |
| out of connections, descriptors or memory, the client that uses most loses one | `connections` |
| few requests run at a time, and clients are served in turn | `thread_pool` |
| health checks, metrics and requests without inference have their own pools | `request_dispatch` |
| out of threads or places in the queue, requests are refused | `request_dispatch` |
| invalid HTTP is refused with the same JSON errors, counted and logged | `request_validation` |
| a graceful stop answers every accepted request; silent clients do not delay it | here, `listener` |
| the process is replaced if a request holds a slot for ever | here, `watchdog` |

What of Gunicorn all this relies on is in `gunicorn_seam.py`.
"""

import logging
import os
import signal
import sys
import time
from selectors import EVENT_READ
from typing import Any

from serving.api.errors import NotReady, WorkerReplaced, WorkerStuck
from serving.log import LOG
from serving.server.event_loop import SHUTDOWN_LINGER_SECONDS, TICK_SECONDS
from serving.server.gunicorn_app import FLUSH_SECONDS
from serving.server.listener import close_listener
from serving.server.master import IGNORED_SIGNALS
from serving.server.request_dispatch import RequestDispatch

# How many more connections than another one a worker may have before it leaves new ones to that, and before
# it closes some of its own after their responses.
CONNECTIONS_AHEAD, CROWDED_AHEAD = 1, 3


class Worker(RequestDispatch):
    """Signals, the main loop, and the graceful stop."""

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401  (Gunicorn's own)
        super().__init__(*arguments, **named)
        self._next_tick = 0.0
        # Connections that this worker may have, so that they are spread evenly.
        self.fair_share = self.worker_connections
        # Whether to end without waiting for requests in progress.
        self._immediate = False

    def init_signals(self) -> None:
        """Signals are meant for the master process. If one ends a worker, the master starts another."""
        super().init_signals()
        # SIGHUP is for the master, but a terminal that is closed sends it to all processes.
        for number in (signal.SIGHUP, *IGNORED_SIGNALS):
            signal.signal(number, signal.SIG_IGN)

    def handle_exit(self, sig: int, frame: Any) -> None:  # noqa: ANN401  (a signal handler)
        """SIGTERM. Process managers signal all processes; during the drain window only the master acts."""
        if not self.app.drain.begun or self.app.drain.over:
            self._stop()

    def handle_quit(self, sig: int, frame: Any) -> None:  # noqa: ANN401  (a signal handler)
        """SIGINT and SIGQUIT: ends without waiting for requests in progress."""
        self._immediate = True
        self._stop()

    def _stop(self) -> None:
        if not self.booted:
            sys.exit(0)
        self.alive = False
        # Wakes the event loop.
        self.method_queue.defer(lambda: None)

    def run(self) -> None:
        """Called by Gunicorn: runs the event loop until the graceful stop is over.

        The threads are shut down however it ends, because the process cannot end before them.
        """
        self.poller.register(self.method_queue.fileno(), EVENT_READ, self.method_queue.run_callbacks)
        try:
            while self.alive and self.is_parent_alive():
                self._run_round()
            self._stop_gracefully()
        finally:
            self.shut_down_pools()

    def _run_round(self) -> None:
        """One round of the event loop. Only too many failures in a row end the process."""
        failures = self.failures
        self.guard(None, self._compare_with_others)
        may_accept = self.alive and len(self.connections) < min(self.worker_connections, self.fair_share)
        self.guard(None, self.set_accept_enabled, may_accept)
        self.guard(None, self.handle_events)
        # Requests whose deadline passes in the queue are started, so that the application refuses them.
        self.guard(None, self.tpool.start_overdue, self.app.settings.deadline)
        if (now := time.monotonic()) >= self._next_tick:
            self._next_tick = now + TICK_SECONDS
            for step in (self.notify, self.close_overdue, self._stop_if_stuck):
                self.guard(None, step)
        if self.failures == failures:
            self.failures = 0

    def _compare_with_others(self) -> None:
        """Tells the other workers what this one is doing, and finds out how many connections it may have.

        A worker with more connections than another one leaves new ones to that. Connections that clients keep
        since before the other worker was there would all stay with this one, so it closes some of them.
        """
        table, worker = self.app.table, self.app.folder.worker
        if not self.alive or table.wanted < 2:
            return
        load = self.wsgi.load()._replace(connections=len(self.connections))
        table.publish(worker, load)
        others = table.others(worker)
        self.waiting_elsewhere = sum(other.waiting for other in others)
        least = min((other.connections for other in others), default=self.worker_connections)
        self.fair_share = least + CONNECTIONS_AHEAD
        self.wsgi.crowded = len(self.connections) > least + CROWDED_AHEAD

    def _stop_if_stuck(self) -> None:
        """Ends the process if a slot is held for ever: there is no other way to get it back."""
        if not self.alive or not self.wsgi.watchdog.stuck_slots:
            return
        self.alive = False
        self.wsgi.restarts.count_stuck()
        fields = {"code": WorkerStuck.code, "seconds": round(self.wsgi.watchdog.longest_held, 1)}
        LOG.error("a request holds a slot, and the worker is replaced", extra={"fields": fields})

    def _stop_gracefully(self) -> None:
        """Answers the requests of accepted connections within the grace period, and refuses the rest."""
        self.alive, self.wsgi.closing = False, True
        self.app.table.leave(os.getpid())
        self.wsgi.stop_updates()
        self.guard(None, self.set_accept_enabled, False)
        for conn in (*self.reading_heads, *self.keepalived_conns, *self.lingering):
            latest = conn.timeout if conn.head else time.monotonic() + SHUTDOWN_LINGER_SECONDS
            conn.timeout = min(conn.timeout, latest)
        settings = self.app.settings
        # While a worker is replaced, new clients wait for the next one, so that must not take long.
        began, shorter_grace = time.monotonic(), min(settings.grace, settings.deadline)
        while not self._immediate and time.monotonic() < began + (
            settings.grace if self._is_last else shorter_grace
        ):
            if self._is_last:
                self._close_listeners()
            # Requests that hold a slot for ever are not waited for.
            if len(self.connections) <= self.wsgi.watchdog.stuck_slots:
                break
            self._run_round()
        self._refuse_unfinished()

    @property
    def _is_last(self) -> bool:
        """Whether no worker follows: the whole server stops."""
        return bool(self.app.drain.over) or self.ppid != os.getppid()

    def _close_listeners(self) -> None:
        """Closes this process's copy of the listening sockets, which the master has closed already."""
        for listener in self.sockets:
            close_listener(listener, self.accept)
        self.sockets = []

    def _refuse_unfinished(self) -> None:
        """Refuses the requests still in progress and ends the process, whose threads may never end."""
        unfinished, self.in_progress = self.in_progress, set()
        for conn in unfinished:
            if conn.sock.claim_response():
                self.refuse(conn, NotReady() if self._is_last or self._immediate else WorkerReplaced())
        end = time.monotonic() + SHUTDOWN_LINGER_SECONDS
        while unfinished and self.lingering and time.monotonic() < end:
            self._run_round()
        self.guard(None, self.wsgi.stop_spans, FLUSH_SECONDS)
        if unfinished:
            logging.shutdown()
            os._exit(0)
