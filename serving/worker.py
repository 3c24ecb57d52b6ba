"""Gunicorn's threaded worker, made patient: no client keeps a thread waiting that has not sent its request.

As it comes, gthread 26 gives each new connection a thread that waits for it, reads heads and bodies without
a limit in time, and lingers over closed connections in the loop that accepts new ones, two seconds each. So a
few slow clients stop the server, its health checks included. Here

- heads are collected by the event loop; a thread gets a request once its head is complete;
- every byte has a deadline, of the head and of the body, however often a client sends a little;
- the event loop lingers over all closed connections at once;
- health checks have threads of their own;
- a head that is no HTTP is answered in the same JSON as every other error;
- idle connections do not hold up the end of the process.

Built on and tested with Gunicorn 26.2; `pyproject.toml` allows nothing newer until somebody has looked.
"""

import errno
import socket
import time
from collections import deque
from collections.abc import Callable
from concurrent import futures
from functools import partial
from selectors import EVENT_READ
from typing import Any

from gunicorn.http import errors
from gunicorn.http.unreader import SocketUnreader
from gunicorn.workers.gthread import TConn, ThreadWorker

from serving.api.errors import (
    CodingUnknown,
    ExpectationUnknown,
    HeadTooLarge,
    HeadTooSlow,
    Internal,
    RequestError,
    RequestLineTooLong,
    RequestMalformed,
)
from serving.problem import Problem

# What is read at once of a head, and of a body.
CHUNK, BODY_CHUNK = 8192, 64 * 1024
# No client that means well sends more; Gunicorn's parser would take 800 kB.
HEAD_BYTES = 64 * 1024
HEAD_END = b"\r\n\r\n"
# How long an answer may take to be taken. It is small, so this is about clients that read nothing.
SEND_SECONDS = 10.0
# After the last byte of an answer, until the connection is closed on a client that still sends; what it sends
# is thrown away in pieces of this size.
LINGER_SECONDS, LINGER_CHUNK = 5.0, 256 * 1024
# How often the loop looks for what is overdue.
TICK = 0.25
PROBES = (b"GET /livez", b"GET /readyz", b"GET /metrics", b"HEAD /livez", b"HEAD /readyz")
PROBE_THREADS = 2

REFUSALS: dict[type[Exception], Callable[[], RequestError]] = {
    errors.LimitRequestLine: RequestLineTooLong,
    errors.LimitRequestHeaders: HeadTooLarge,
    errors.ExpectationFailed: ExpectationUnknown,
    errors.UnsupportedTransferCoding: CodingUnknown,
}


class TooSlow(errors.NoMoreData):  # type: ignore[misc]
    """The deadline of a request has passed before it was complete."""


class PatientUnreader(SocketUnreader):  # type: ignore[misc]
    """Reads from a socket until a moment that has been set, not until a client falls silent."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock, BODY_CHUNK)
        self.deadline = float("inf")

    def chunk(self) -> bytes:
        """What the client has sent, or `TooSlow`."""
        remaining = self.deadline - time.monotonic()
        if remaining <= 0:
            raise TooSlow
        self.sock.settimeout(remaining)
        try:
            data: bytes = super().chunk()
        except TimeoutError:
            raise TooSlow from None
        finally:
            self.sock.settimeout(SEND_SECONDS)
        return data


class Connection(TConn):  # type: ignore[misc]
    """A client's connection, and the head of its next request as far as it has come."""

    def __init__(self, body_seconds: float, *arguments: Any) -> None:  # noqa: ANN401  (Gunicorn's own)
        super().__init__(*arguments)
        self.body_seconds = body_seconds
        self.head = bytearray()
        self.data_ready = True  # no thread shall wait for it

    def init(self) -> None:
        """Hands the head over to the parser; called by the thread that answers."""
        super().init()
        if not isinstance(self.parser.unreader, PatientUnreader):
            self.parser.unreader = PatientUnreader(self.sock)
        self.parser.unreader.deadline = time.monotonic() + self.body_seconds
        self.parser.unreader.unread(bytes(self.head))
        self.head.clear()


class PatientWorker(ThreadWorker):  # type: ignore[misc]
    """See the module. `pending_conns` of the base class are here those whose head is not complete."""

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401  (Gunicorn's own)
        super().__init__(*arguments, **named)
        self.lingering: deque[Connection] = deque()

    def init_process(self) -> None:
        self.probes = futures.ThreadPoolExecutor(PROBE_THREADS, "probe")
        super().init_process()

    def accept(self, listener: socket.socket) -> None:
        """Takes a new connection, and waits for its first head."""
        try:
            client, address = listener.accept()
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EWOULDBLOCK, errno.ECONNABORTED):
                return
            raise
        self.nr_conns += 1
        seconds = self.app.settings.body_seconds
        self._await_head(Connection(seconds, self.cfg, client, address, listener.getsockname()))

    def on_client_socket_readable(self, conn: Connection, client: socket.socket) -> None:
        """A connection that was kept alive has its next request."""
        self.poller.unregister(client)
        self.keepalived_conns.remove(conn)
        self._await_head(conn)

    def _await_head(self, conn: Connection) -> None:
        conn.timeout = time.monotonic() + self.app.settings.head_seconds
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, EVENT_READ, partial(self.on_pending_socket_readable, conn))

    def on_pending_socket_readable(self, conn: Connection, client: socket.socket) -> None:
        """Takes what is there of a head, and gives a complete one to a thread."""
        try:
            data = client.recv(CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        conn.head += data
        complete, too_large = HEAD_END in conn.head, len(conn.head) > HEAD_BYTES
        if data and not complete and not too_large:
            return
        self.poller.unregister(client)
        self.pending_conns.remove(conn)
        if complete:
            self.enqueue_req(conn)
        elif too_large:
            _send(client, HeadTooLarge())
            self._linger(conn)
        else:
            self._drop(conn)

    def enqueue_req(self, conn: Connection) -> None:
        """Gives a request to a thread; a health check to one that has nothing else to do."""
        pool = self.probes if conn.head.startswith(PROBES) else self.tpool
        future = pool.submit(self.handle, conn)
        future.add_done_callback(lambda done: self.method_queue.defer(self.finish_request, conn, done))

    def finish_request(self, conn: Connection, fs: "futures.Future[Any]") -> None:
        """Waits for the next request, or lets the client read the answer to its end and closes."""
        if self.alive and not fs.cancelled() and fs.exception() is None and fs.result():
            super().finish_request(conn, fs)
        else:
            self._linger(conn)

    def _linger(self, conn: Connection) -> None:
        try:
            # RFC 9112, 9.6: closing while the client still sends would take the answer from it.
            conn.sock.shutdown(socket.SHUT_WR)
            conn.sock.setblocking(False)
            self.poller.register(conn.sock, EVENT_READ, partial(self._on_lingering, conn))
        except (OSError, ValueError):
            self._drop(conn)
            return
        conn.timeout = time.monotonic() + LINGER_SECONDS
        self.lingering.append(conn)

    def _on_lingering(self, conn: Connection, client: socket.socket) -> None:
        try:
            if client.recv(LINGER_CHUNK):
                return
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            pass
        self.poller.unregister(client)
        self.lingering.remove(conn)
        self._drop(conn)

    def handle_exit(self, sig: int, frame: Any) -> None:  # noqa: ANN401  (a signal handler)
        """Stops on the master's word. Process managers signal all processes, and the master drains first."""
        if self.app.drain.begun and not self.app.drain.over:
            return
        super().handle_exit(sig, frame)

    def murder_pending(self) -> None:
        """Closes connections whose head or whose end has taken too long; at the end all that say nothing."""
        if not self.alive:
            for conn in self.pending_conns:
                conn.timeout = conn.timeout if conn.head else 0.0
        self._expire(self.pending_conns, answer=True)
        self._expire(self.lingering, answer=False)

    def murder_keepalived(self) -> None:
        """Closes connections that have been idle for too long, or all idle ones when the process ends."""
        if not self.alive:
            for conn in self.keepalived_conns:
                conn.timeout = 0.0
        super().murder_keepalived()

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Waits no longer than a tick: at the end of the process the base class would wait for an event."""
        super().wait_for_and_dispatch_events(min(timeout, TICK))

    def _expire(self, connections: deque[Connection], answer: bool) -> None:
        now = time.monotonic()
        for conn in [conn for conn in connections if conn.timeout <= now]:
            connections.remove(conn)
            self.poller.unregister(conn.sock)
            if answer and conn.head:
                _send(conn.sock, HeadTooSlow(self.app.settings.head_seconds))
            self._drop(conn)

    def _drop(self, conn: Connection) -> None:
        self.nr_conns -= 1
        conn.close()

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: Exception) -> None:  # noqa: ANN401
        """Answers what is no HTTP, without the name of a host or a line of code."""
        if isinstance(exc, errors.ParseException):
            _send(client, REFUSALS.get(type(exc), RequestMalformed)())
        else:
            self.log.exception("a request failed outside the application")
            _send(client, Internal())


def _send(sock: socket.socket, error: RequestError) -> None:
    """Sends an error that Gunicorn's own answers cannot be used for; the client may have gone."""
    problem = Problem(error.status, error.code, str(error))
    body = problem.to_bytes()
    head = (
        f"HTTP/1.1 {problem.status} {problem.title}\r\nConnection: close\r\n"
        f"Content-Type: {problem.media_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    try:
        sock.send(head.encode("ascii") + body)
    except OSError:
        return
