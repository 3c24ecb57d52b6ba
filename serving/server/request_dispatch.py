"""Which thread pool runs a request, what happens in its thread, and which requests are refused."""

import re
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any

from gunicorn.http import errors

from serving.api.errors import (
    CodingUnknown,
    ExpectationUnknown,
    HeadTooLarge,
    Internal,
    RequestError,
    RequestLineTooLong,
    RequestMalformed,
    ServerBusy,
)
from serving.api.middleware import HEALTH_PATHS, METRICS
from serving.server import request_validation
from serving.server.client_socket import ClientSocket, QueueTiming
from serving.server.connection_lifecycle import MAX_HELD_BYTES, ConnectionLifecycle
from serving.server.connections import Connection
from serving.server.thread_pool import ThreadPool, ThreadUnavailable, finish_response, release_slot

HEALTH_THREADS = 2
# One thread renders the metrics for all that wait for them. Requests beyond the queue are refused; a
# refusal costs half as much as the metrics.
METRICS_THREADS, METRICS_QUEUE = 1, 256
# Threads for requests without inference, and spare ones for those of them that wait for a client's body.
LIGHT_THREADS, SPARE_THREADS = 2, 16

# The error of this server for each of Gunicorn's parser; `RequestMalformed` for all others.
PARSER_ERRORS: dict[type[Exception], Callable[[], RequestError]] = {
    errors.LimitRequestLine: RequestLineTooLong,
    errors.LimitRequestHeaders: HeadTooLarge,
    errors.ExpectationFailed: ExpectationUnknown,
    errors.UnsupportedTransferCoding: CodingUnknown,
}


def compile_head_pattern(paths: Iterable[str], prefix: str) -> re.Pattern[bytes]:
    """A pattern for the heads of GET and HEAD requests for some paths, with and without the prefix."""
    names = "|".join(re.escape(path.strip("/")) for path in paths if path.strip("/"))
    return re.compile(rf"(?:GET|HEAD) (?:{re.escape(prefix)})?/(?:{names})/?(?:\?\S*)? HTTP/".encode())


class RequestDispatch(ConnectionLifecycle):
    """Runs requests in four thread pools: inference (`tpool`), health checks, metrics, and all the rest."""

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401  (Gunicorn's own)
        super().__init__(*arguments, **named)
        # Requests that wait in other workers: they share one queue.
        self.waiting_elsewhere = 0

    def init_process(self) -> None:
        """Called by Gunicorn after the fork."""
        self.health_pool = ThreadPool("probe", HEALTH_THREADS, HEALTH_THREADS)
        self.metrics_pool = ThreadPool("metrics", METRICS_THREADS, METRICS_THREADS)
        self.light_pool = ThreadPool("light", LIGHT_THREADS, LIGHT_THREADS + SPARE_THREADS)
        settings = self.app.settings
        self._health_heads = compile_head_pattern((*HEALTH_PATHS, settings.aip_health_route), settings.prefix)
        self._metrics_heads = compile_head_pattern((METRICS,), settings.prefix)
        super().init_process()

    def get_thread_pool(self) -> ThreadPool:
        """Called by Gunicorn: the pool for requests with inference, one thread for each slot."""
        return ThreadPool("request", self.app.slots, self.cfg.threads)

    def load_wsgi(self) -> None:
        """Called by Gunicorn. Requests in the pool's queue count as waiting for a slot."""
        super().load_wsgi()
        # A worker has its share of the slots.
        self.tpool.size = self.app.slots
        self.wsgi.admission.queued_for_thread = lambda: self.tpool.waiting

    def shut_down_pools(self) -> None:
        """Ends all threads that have nothing left to do."""
        for pool in (self.tpool, self.light_pool, self.health_pool, self.metrics_pool):
            pool.shutdown(wait=False)

    # In the event loop.

    def dispatch(self, conn: Connection) -> None:
        """Queues a request whose head is complete in a thread pool, or refuses it."""
        self.connections.set_held_bytes(conn, len(conn.head))
        pool = self._choose_pool(conn)
        conn.sock.begin_request()
        if self._over_limits(conn, pool):
            self.refuse(conn, ServerBusy(1))
            return
        self.in_progress.add(conn)
        self._submit(pool, conn)

    def _submit(self, pool: ThreadPool, conn: Connection) -> None:
        try:
            pool.submit(partial(self._run_request, conn), conn.owner)
        except ThreadUnavailable:
            self.in_progress.discard(conn)
            self.refuse(conn, ServerBusy(1))

    def _choose_pool(self, conn: Connection) -> ThreadPool:
        """The pool for a request. Also sets its `QueueTiming`.

        If the queue is full, one request is refused: the newest one of the client with the most requests, or
        this one if its own client has the most. The application refuses it, in the pool for requests without
        inference.
        """
        conn.sock.timing = QueueTiming(time.monotonic())
        if self._health_heads.match(conn.head):
            return self.health_pool
        if self._metrics_heads.match(conn.head):
            return self.metrics_pool
        if conn.head.startswith((b"GET ", b"HEAD ", b"OPTIONS ")):
            return self.light_pool
        queued = self.tpool.waiting + self.waiting_elsewhere
        if self.tpool.full and queued >= self.app.settings.queue:
            if not (evicted := self.tpool.evict_newest(conn.owner)):
                conn.sock.timing = conn.sock.timing._replace(queue_full=True)
                return self.light_pool
            self._refuse_evicted(evicted)
        return self.tpool

    def _refuse_evicted(self, task: Callable[[], object]) -> None:
        assert isinstance(task, partial)  # noqa: S101
        conn: Connection = task.args[0]
        conn.sock.timing = conn.sock.timing._replace(queue_full=True)
        self._submit(self.light_pool, conn)

    def _over_limits(self, conn: Connection, pool: ThreadPool) -> bool:
        """Whether the metrics' queue is full, or memory is short and this client holds most of it."""
        if pool is self.metrics_pool and pool.waiting >= METRICS_QUEUE:
            return True
        return self.connections.held_bytes > MAX_HELD_BYTES and self.connections.holds_most(conn.owner)

    def complete_request(self, conn: Connection, keep_alive: bool) -> None:
        """Continues with the connection after a thread has run its request.

        `keep_alive` is what the response has told the client. It holds during a graceful stop too, because
        the client may already have sent its next request.
        """
        if conn not in self.in_progress:
            return
        self.in_progress.discard(conn)
        if keep_alive and (pipelined := conn.take_pipelined()):
            conn.add_to_head(pipelined)
        self.send_rest(conn, keep_alive)

    # In a thread of a pool.

    def _run_request(self, conn: Connection) -> None:
        """Parses and runs a request, then hands the connection back to the event loop."""
        conn.sock.timing = conn.sock.timing.dequeued()
        keep_alive = False
        try:
            conn.pass_head_to_parser(self.app.settings.body_seconds)
            keep_alive = bool(self.handle(conn))
        finally:
            self.method_queue.defer(self.guard, conn, self.complete_request, conn, keep_alive)

    def handle_request(self, req: Any, conn: Connection) -> Any:  # noqa: ANN401  (Gunicorn's own)
        """Called by Gunicorn with a parsed request: validates it, calls the application, responds."""
        request_validation.check(req)
        conn.prepare_body(req)
        keep_alive = super().handle_request(req, conn)
        # From here on the client can send its next request.
        release_slot()
        conn.sock.flush()
        finish_response()
        return keep_alive

    def handle_error(self, req: Any, client: ClientSocket, addr: Any, exc: Exception) -> None:  # noqa: ANN401
        """Called by Gunicorn: responds in JSON to malformed requests and to failures outside the application.

        Gunicorn's own response would quote an exception.
        """
        if isinstance(exc, errors.ParseException):
            error = PARSER_ERRORS.get(type(exc), RequestMalformed)()
        else:
            self.log.exception("a request failed outside the application")
            error = Internal()
        with suppress(OSError):
            client.replace_response(self.wsgi.error_response(error))
