"""Gunicorn's threaded worker, made patient: no client keeps a thread waiting that has not sent its request.

As it comes, gthread 26 gives each new connection a thread that waits for it, reads and writes without a limit
in time, lingers over closed connections in the loop that accepts new ones, forgets a request that came
together with the one before, and ends when the system is out of descriptors. So a few odd clients stop the
server, its health checks included. Here

- heads are collected by the event loop; a thread gets a request once its head is complete;
- few requests are answered at once (serving/crew.py), more where some wait for their clients;
- every byte has a deadline, of the head, the body and the answer, however often a client moves a little;
- the event loop lingers over all closed connections at once;
- health checks have threads of their own, and so has what needs no model;
- when connections or descriptors run out the oldest silent ones go, without threads requests are refused;
- what is no HTTP is answered in the same JSON as every other error, counted and logged;
- at the end of the process whoever was let in is answered, and who says nothing does not hold it up;
- a request that holds a slot for ever has the process replaced (serving/watchdog.py).

Built on and tested with Gunicorn 26.2; `pyproject.toml` allows nothing newer until somebody has looked.
"""

import errno
import logging
import os
import re
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from selectors import EVENT_READ
from typing import Any

from gunicorn.http import errors
from gunicorn.http.body import Body, ChunkedReader
from gunicorn.workers.gthread import TConn, ThreadWorker

from serving.api.errors import (
    CodingUnknown,
    ExpectationUnknown,
    HeadTooLarge,
    HeadTooSlow,
    Internal,
    NotReady,
    RequestError,
    RequestLineTooLong,
    RequestMalformed,
    ServerBusy,
    WorkerReplaced,
    WorkerStuck,
)
from serving.crew import Crew, NoThread, leave
from serving.listener import close
from serving.log import LOG
from serving.master import IGNORED
from serving.stream import SEND_SECONDS, Chunks, PatientSocket, PatientUnreader, Turn

# Read at once of a head: what lies in Gunicorn's buffer is copied whenever some of it is taken.
HEAD_PIECE = 8192
# No client that means well sends more; Gunicorn's parser would take 800 kB.
HEAD_BYTES = 64 * 1024
HEAD_END = b"\r\n\r\n"
# After the last byte of an answer, until the connection is closed on a client that still sends; what it sends
# is thrown away in pieces of this size.
LINGER_SECONDS, LINGER_PIECE = 5.0, 256 * 1024
# The same when the process ends, which a client must not hold up that says nothing or does not hang up.
LAST_SECONDS = 1.0
# How often the loop looks for what is overdue.
TICK = 0.25
# Their answers are small, so whoever does not take them at once does not want them.
PROBES = ("/livez", "/readyz", "/metrics", "/ping", "/health", "/v2/health/live", "/v2/health/ready")
PROBE_THREADS, PROBE_SEND_SECONDS = 2, 1.0
# Threads for what needs no model, and as many more as may wait for clients meanwhile.
LIGHT_THREADS, SPARE_THREADS = 2, 64
# Below the limit of connections, so that health checks still get in.
RESERVE = 50
# What accept() says when the system cannot give more, and when the listener itself is gone.
SHORTAGE = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
GONE = {errno.EBADF, errno.EINVAL, errno.ENOTSOCK}

REFUSALS: dict[type[Exception], Callable[[], RequestError]] = {
    errors.LimitRequestLine: RequestLineTooLong,
    errors.LimitRequestHeaders: HeadTooLarge,
    errors.ExpectationFailed: ExpectationUnknown,
    errors.UnsupportedTransferCoding: CodingUnknown,
}


def probe_heads(more: str, prefix: str = "") -> re.Pattern[bytes]:
    """How the heads of health checks begin; `more`: one that somebody else has named."""
    paths = "|".join(re.escape(path.strip("/")) for path in (*PROBES, more) if path.strip("/"))
    return re.compile(rf"(?:GET|HEAD) (?:{re.escape(prefix)})?/(?:{paths})/?(?:\?\S*)? HTTP/".encode())


class Connection(TConn):  # type: ignore[misc]
    """A client's connection, and the head of its next request as far as it has come."""

    def __init__(self, worker: "PatientWorker", client: socket.socket, *peers: object) -> None:
        super().__init__(worker.cfg, PatientSocket(client), *peers)
        self.body_seconds, self.probes = worker.app.settings.body_seconds, worker.probe_heads
        self.head = bytearray()
        self.data_ready = True  # no thread shall wait for it

    def take(self, data: bytes) -> None:
        """Adds to the head. RFC 9112, 2.2: an empty line before a request is passed over."""
        self.head = (self.head + data).lstrip(b"\r\n")

    def receive(self) -> bool:
        """Adds to the head what has come, without waiting for it. Is the client still there?"""
        try:
            data = self.sock.recv(HEAD_PIECE)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        self.take(data)
        return bool(data)

    @property
    def is_probe(self) -> bool:
        return self.probes.match(self.head) is not None

    def init(self) -> None:
        """Hands the head over to the parser; called by the thread that answers."""
        super().init()
        if not isinstance(self.parser.unreader, PatientUnreader):
            self.parser.unreader = PatientUnreader(self.sock)
        self.sock.settimeout(PROBE_SEND_SECONDS if self.is_probe else SEND_SECONDS)
        self.parser.unreader.deadline = time.monotonic() + self.body_seconds
        self.parser.unreader.unread(bytes(self.head))
        self.head.clear()


class PatientWorker(ThreadWorker):  # type: ignore[misc]
    """See the module. `pending_conns` of the base class are here those whose head is not complete."""

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401  (Gunicorn's own)
        super().__init__(*arguments, **named)
        self.lingering: deque[Connection] = deque()
        # Those whose request a thread has, or will have.
        self.answering: set[Connection] = set()
        self.next_notice = 0.0
        # Is the process to end without waiting for work in flight?
        self.quick = False

    def init_process(self) -> None:
        self.probes = Crew("probe", PROBE_THREADS, PROBE_THREADS)
        self.light = Crew("light", LIGHT_THREADS, LIGHT_THREADS + SPARE_THREADS)
        self.probe_heads = probe_heads(self.app.settings.aip_health_route, self.app.settings.prefix)
        super().init_process()

    def get_thread_pool(self) -> Crew:
        """Called by the base class."""
        return Crew("request", self.app.slots, self.cfg.threads)

    def load_wsgi(self) -> None:
        """Called by the base class. Who waits for a thread waits for a slot, as the application sees it."""
        super().load_wsgi()
        self.wsgi.admission.line = lambda: self.tpool.waiting

    def init_signals(self) -> None:
        """Signals are meant for the master; a worker that one of them ends gets a successor."""
        super().init_signals()
        signal.signal(signal.SIGHUP, self.handle_exit)
        for number in IGNORED:
            signal.signal(number, signal.SIG_IGN)

    def run(self) -> None:
        """Until the end, however it comes: the process cannot end before its threads."""
        self.poller.register(self.method_queue.fileno(), EVENT_READ, self.method_queue.run_callbacks)
        try:
            while self.alive and self.is_parent_alive():
                self._turn()
                if self._stuck():
                    break
            self._finish()
        finally:
            for crew in (self.tpool, self.light, self.probes):
                crew.shutdown(wait=False)

    def _turn(self) -> None:
        """One round of the event loop."""
        self.notify()
        self.set_accept_enabled(self.alive and self.nr_conns < self.worker_connections)
        self.wait_for_and_dispatch_events(TICK)
        self.murder_keepalived()
        self.murder_pending()

    def _stuck(self) -> bool:
        """Does a request hold a slot for ever? Then only a new process gets it back."""
        if not self.wsgi.watchdog.stuck:
            return False
        self.wsgi.restarts.found_stuck()
        fields = {"code": WorkerStuck.code, "seconds": round(self.wsgi.watchdog.longest, 1)}
        LOG.error("a request holds a slot, and the worker is replaced", extra={"fields": fields})
        return True

    def _finish(self) -> None:
        """Answers what was let in, and tells those whom it cannot answer."""
        self.alive, self.wsgi.closing = False, True
        self.set_accept_enabled(False)
        for conn in (*self.pending_conns, *self.keepalived_conns, *self.lingering):
            conn.timeout = conn.timeout if conn.head else min(conn.timeout, self._until(LAST_SECONDS))
        settings = self.app.settings
        # Whoever comes while a worker is replaced waits for the next one, so that must not take long.
        began, soon = time.monotonic(), min(settings.grace, settings.deadline)
        while not self.quick and time.monotonic() < began + (settings.grace if self._last else soon):
            if self._last:
                self._stop_listening()
            # What holds a slot for ever is not waited for.
            if self.nr_conns <= self.wsgi.watchdog.stuck:
                break
            self._turn()
        self._give_up()

    @property
    def _last(self) -> bool:
        """Will there be no next worker?"""
        return bool(self.app.drain.over) or self.ppid != os.getppid()

    def _stop_listening(self) -> None:
        """The master does not listen any more, and here ends what it had in common with this process."""
        for listener in self.sockets:
            close(listener, self.accept)
        self.sockets: list[socket.socket] = []

    def _give_up(self) -> None:
        """Refuses what is still at work, and ends the process: its threads may never end."""
        given_up, self.answering = self.answering, set()
        for conn in given_up:
            if conn.sock.claim():
                conn.sock.setblocking(False)
                self._refuse(conn, NotReady() if self._last or self.quick else WorkerReplaced())
        end = time.monotonic() + LAST_SECONDS
        while given_up and self.lingering and time.monotonic() < end:
            self._turn()
        if given_up:
            logging.shutdown()
            os._exit(0)

    def handle_quit(self, sig: int, frame: Any) -> None:  # noqa: ANN401  (a signal handler)
        """Ends without waiting for work in flight."""
        self.quick = True
        self._end()

    def _end(self) -> None:
        if not self.booted:
            sys.exit(0)
        self.alive = False
        self.method_queue.defer(lambda: None)

    def _until(self, seconds: float) -> float:
        """Until when a client may say nothing: at the end of the process not for long."""
        return time.monotonic() + (seconds if self.alive else min(seconds, LAST_SECONDS))

    def accept(self, listener: socket.socket) -> None:
        """Takes a new connection, and waits for its first head."""
        try:
            client, address = listener.accept()
        except OSError as error:
            if error.errno in GONE:
                raise
            if error.errno in SHORTAGE and not self._shed():
                # It stays in the listener's queue, and the loop must not spin until it can be had.
                time.sleep(TICK)
            return
        self.nr_conns += 1
        if self.nr_conns > self.worker_connections - RESERVE:
            self._shed()
        self._await_head(Connection(self, client, address, listener.getsockname()))

    def on_client_socket_readable(self, conn: Connection, client: PatientSocket) -> None:
        """A connection that was kept alive has its next request, most often all of its head."""
        self.poller.unregister(client)
        self.keepalived_conns.remove(conn)
        if conn.receive():
            self._begin(conn)
        else:
            self._drop(conn)

    def on_pending_socket_readable(self, conn: Connection, client: PatientSocket) -> None:
        """Takes what is there of a head."""
        more = conn.receive()
        if more and HEAD_END not in conn.head and len(conn.head) <= HEAD_BYTES:
            return
        self.poller.unregister(client)
        self.pending_conns.remove(conn)
        if more:
            self._begin(conn)
        else:
            self._drop(conn)

    def enqueue_req(self, conn: Connection) -> None:
        """Gives a request to a thread; a health check to one that has nothing else to do.

        What asks for no model, and what finds no place in the queue, does not stand in line for its answer.
        """
        crew = self.tpool
        crowded = crew.full and crew.waiting >= self.app.settings.queue
        conn.sock.turn = Turn(time.monotonic(), crowded)
        light = crowded or conn.head.startswith((b"GET ", b"HEAD ", b"OPTIONS "))
        crew = self.probes if conn.is_probe else self.light if light else crew
        conn.sock.begin()
        self.answering.add(conn)
        try:
            crew.submit(partial(self._answer, conn))
        except NoThread:
            self.answering.discard(conn)
            self._refuse(conn, ServerBusy(1))

    def _answer(self, conn: Connection) -> None:
        """In a thread: answers, and tells the loop."""
        conn.sock.turn = conn.sock.turn.begun()
        kept = False
        try:
            kept = bool(self.handle(conn))
        finally:
            self.method_queue.defer(self.finish_request, conn, kept)

    def finish_request(self, conn: Connection, kept: bool) -> None:
        """Goes on with the next request, or lets the client read the answer to its end and closes.

        `kept` is what the client was told: at the end of the process too its next request may be on its way.
        """
        if conn not in self.answering:
            return
        self.answering.discard(conn)
        # A client may send a request before it has read the answer to the one before.
        if kept and (early := conn.parser.unreader.take_buffered()):
            conn.take(early)
            self._begin(conn)
        elif kept:
            conn.sock.setblocking(False)
            conn.timeout = self._until(self.cfg.keepalive)
            self.keepalived_conns.append(conn)
            self.poller.register(conn.sock, EVENT_READ, partial(self.on_client_socket_readable, conn))
        else:
            self._linger(conn)

    def handle_request(self, req: Any, conn: Connection) -> Any:  # noqa: ANN401  (Gunicorn's own)
        """Answers one request; a client that does not take its answer in time loses the connection."""
        if isinstance(req.body.reader, ChunkedReader):
            req.body = Body(Chunks(conn.parser.unreader))
        try:
            kept = super().handle_request(req, conn)
            # From here on the client can send its next request.
            leave()
            conn.sock.flush()
            return kept
        except TimeoutError:
            # Gunicorn's word for a connection that is over.
            raise StopIteration("the client did not take its answer") from None

    def handle_error(self, req: Any, client: PatientSocket, addr: Any, exc: Exception) -> None:  # noqa: ANN401
        """Answers what is no HTTP, without the name of a host or a line of code."""
        if isinstance(exc, errors.ParseException):
            error = REFUSALS.get(type(exc), RequestMalformed)()
        else:
            self.log.exception("a request failed outside the application")
            error = Internal()
        if client.claim():
            self._send(client, error)

    def notify(self) -> None:
        """Tells the master that the loop turns: once a tick, not once an event."""
        if (now := time.monotonic()) >= self.next_notice:
            self.next_notice = now + TICK
            super().notify()

    def handle_exit(self, sig: int, frame: Any) -> None:  # noqa: ANN401  (a signal handler)
        """Stops on the master's word. Process managers signal all processes, and the master drains first."""
        if not self.app.drain.begun or self.app.drain.over:
            self._end()

    def murder_pending(self) -> None:
        """Closes connections whose head or whose end has taken too long."""
        for conn in self._overdue(self.pending_conns):
            if conn.head:
                self._send(conn.sock, HeadTooSlow(self.app.settings.head_seconds))
                self._drop(conn)
            else:
                self._let_go(conn)
        for conn in self._overdue(self.lingering):
            self._drop(conn)

    def murder_keepalived(self) -> None:
        """Closes connections that have been idle for too long."""
        for conn in self._overdue(self.keepalived_conns):
            self._let_go(conn)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Looks after those that wait for a thread, too."""
        super().wait_for_and_dispatch_events(timeout)
        # Those whose deadline passes while they are in line shall be told, not forgotten.
        self.tpool.hurry(self.app.settings.deadline)

    def _begin(self, conn: Connection) -> None:
        """Decides what becomes of a head as it is now."""
        if HEAD_END in conn.head:
            self.enqueue_req(conn)
        elif len(conn.head) > HEAD_BYTES:
            self._refuse(conn, HeadTooLarge())
        else:
            self._await_head(conn)

    def _await_head(self, conn: Connection) -> None:
        conn.sock.setblocking(False)
        seconds = self.app.settings.head_seconds
        conn.timeout = time.monotonic() + seconds if conn.head else self._until(seconds)
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, EVENT_READ, partial(self.on_pending_socket_readable, conn))

    def _refuse(self, conn: Connection, error: RequestError) -> None:
        self._send(conn.sock, error)
        self._linger(conn)

    def _linger(self, conn: Connection) -> None:
        """Half-closes. RFC 9112, 9.6: closing while the client still sends would take the answer from it."""
        try:
            conn.sock.shutdown(socket.SHUT_WR)
            conn.sock.setblocking(False)
            self.poller.register(conn.sock, EVENT_READ, partial(self._on_lingering, conn))
        except (OSError, ValueError):
            self._drop(conn)
            return
        conn.timeout = self._until(LINGER_SECONDS)
        self.lingering.append(conn)

    def _on_lingering(self, conn: Connection, client: PatientSocket) -> None:
        try:
            if client.recv(LINGER_PIECE):
                return
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            pass
        self.poller.unregister(client)
        self.lingering.remove(conn)
        self._drop(conn)

    def _overdue(self, connections: deque[Connection]) -> list[Connection]:
        """Takes out those whose time is over."""
        now = time.monotonic()
        overdue = [conn for conn in connections if conn.timeout <= now]
        for conn in overdue:
            connections.remove(conn)
            self.poller.unregister(conn.sock)
        return overdue

    def _shed(self) -> bool:
        """Closes the connection that has been silent for longest. Was there one?"""
        for connections in (self.lingering, self.pending_conns, self.keepalived_conns):
            if connections:
                conn = connections.popleft()
                self.poller.unregister(conn.sock)
                self._drop(conn)
                return True
        return False

    def _let_go(self, conn: Connection) -> None:
        """Closes a silent connection, unless a request has come since the loop looked for one."""
        if conn.receive() and conn.head:
            self._begin(conn)
        else:
            self._drop(conn)

    def _drop(self, conn: Connection) -> None:
        self.nr_conns -= 1
        conn.close()

    def _send(self, sock: PatientSocket, error: RequestError) -> None:
        """Sends an error that does not come from the application; the client may have gone."""
        try:
            sock.send(self.wsgi.refuse(error))
        except OSError:
            return
