"""Gunicorn's threaded worker, made patient: no client keeps a thread waiting that has not sent its request.

As it comes, gthread 26 gives each new connection a thread that waits for it, reads and writes without a limit
in time, lingers over closed connections in the loop that accepts new ones, forgets a request that came
together with the one before, and ends when the system is out of descriptors. So a few odd clients stop the
server, its health checks included. Here

- heads are collected by the event loop; a thread gets a request once its head is complete;
- few requests are answered at once (serving/server/thread_pool.py), more where some wait for their clients;
- every byte has a deadline, of the head, the body and the answer, however often a client moves a little;
- the event loop sends what a client does not take at once of its answer, and lingers over all closed
  connections at once;
- health checks have threads of their own, and so have the metrics and what needs no model;
- when connections, descriptors or memory for heads run out, one goes of the client that has most
  (serving/server/connections.py); without threads requests are refused;
- whatever fails in the event loop ends one connection and is logged, never the process;
- what is no HTTP is answered in the same JSON as every other error, counted and logged;
- at the end of the process whoever was let in is answered, and who says nothing does not hold it up;
- a request that holds a slot for ever has the process replaced (serving/server/watchdog.py).

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
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from selectors import EVENT_READ, EVENT_WRITE
from typing import Any

from gunicorn.http import errors
from gunicorn.http.body import Body, ChunkedReader
from gunicorn.workers.gthread import ThreadWorker

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
from serving.log import LOG
from serving.server import request_validation
from serving.server.client_address import client_of
from serving.server.client_socket import SEND_SECONDS, Chunks, PatientSocket, Turn
from serving.server.connections import Connection, Connections, Line
from serving.server.listener import close
from serving.server.master import IGNORED
from serving.server.thread_pool import Crew, NoThread, leave

# After the last byte of an answer, until the connection is closed on a client that still sends; what it sends
# is thrown away in pieces of this size.
LINGER_SECONDS, LINGER_PIECE = 5.0, 256 * 1024
# The same when the process ends, which a client must not hold up that says nothing or does not hang up.
LAST_SECONDS = 1.0
# How often the loop looks for what is overdue, and tells the master that it turns.
TICK = 0.25
# Health checks, whose answers are small, and the figures, which take some milliseconds.
PROBES = ("/livez", "/readyz", "/ping", "/health", "/v2/health/live", "/v2/health/ready")
METRICS = ("/metrics",)
PROBE_THREADS = 2
# One thread reads them out for all who wait. Beyond these they are refused, which costs half as much.
METRICS_THREADS, METRICS_QUEUE = 1, 256
# Threads for what needs no model, and as many more as may read a little of what clients still send.
LIGHT_THREADS, SPARE_THREADS = 2, 16
# All heads and all answers that clients have not taken, in bytes: 4 kB for each connection that there may be.
HELD_BYTES = 16 * 2**20
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
# The worker ends after so many failures of its loop in a row that are of no single connection, a tick apart.
FAILURES = 10


def heads_of(paths: Iterable[str], prefix: str) -> re.Pattern[bytes]:
    """How the heads of requests for some paths begin."""
    words = "|".join(re.escape(path.strip("/")) for path in paths if path.strip("/"))
    return re.compile(rf"(?:GET|HEAD) (?:{re.escape(prefix)})?/(?:{words})/?(?:\?\S*)? HTTP/".encode())


class PatientWorker(ThreadWorker):  # type: ignore[misc]
    """See the module. `pending_conns` of the base class are here those whose head is not complete."""

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401  (Gunicorn's own)
        super().__init__(*arguments, **named)
        self.connections = Connections()
        # Where connections wait for their clients.
        self.keepalived_conns: Line = {}
        self.pending_conns: Line = {}
        self.sending: Line = {}
        self.lingering: Line = {}
        # Those whose request a thread has, or will have.
        self.answering: set[Connection] = set()
        self.next_look = 0.0
        # Of the loop, one after the other.
        self.failures = 0
        # Is the process to end without waiting for work in flight?
        self.quick = False

    def init_process(self) -> None:
        self.probes = Crew("probe", PROBE_THREADS, PROBE_THREADS)
        self.figures = Crew("metrics", METRICS_THREADS, METRICS_THREADS)
        self.light = Crew("light", LIGHT_THREADS, LIGHT_THREADS + SPARE_THREADS)
        settings = self.app.settings
        self.probe_heads = heads_of((*PROBES, settings.aip_health_route), settings.prefix)
        self.metrics_heads = heads_of(METRICS, settings.prefix)
        super().init_process()

    def get_thread_pool(self) -> Crew:
        """Called by the base class."""
        return Crew("request", self.app.slots, self.cfg.threads)

    def load_wsgi(self) -> None:
        """Called by the base class. Who waits for a thread waits for a slot, as the application sees it."""
        super().load_wsgi()
        self.wsgi.admission.queued_for_thread = lambda: self.tpool.waiting

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
            self._finish()
        finally:
            for crew in (self.tpool, self.light, self.probes, self.figures):
                crew.shutdown(wait=False)

    def _turn(self) -> None:
        """One round of the event loop, in which nothing ends the process but too many failures."""
        failures = self.failures
        self._try(None, self.set_accept_enabled, self.alive and self.nr_conns < self.worker_connections)
        self._try(None, self.wait_for_and_dispatch_events, TICK)
        # Once a tick, not once an event.
        if (now := time.monotonic()) >= self.next_look:
            self.next_look = now + TICK
            for step in (self.notify, self.murder_keepalived, self.murder_pending, self._watch):
                self._try(None, step)
        if self.failures == failures:
            self.failures = 0

    def _try(self, conn: Connection | None, step: Callable[..., object], *arguments: object) -> None:
        """Takes a step of the loop. If it fails its connection is closed; without one the loop pauses.

        Otherwise an event that nothing takes away would come again at once, and keep a core busy for ever.
        """
        try:
            step(*arguments)
        # Whatever it is, the other connections go on.
        except Exception:  # noqa: BLE001
            LOG.exception("a step of the event loop failed", extra={"fields": {"code": "loop_failed"}})
            if conn:
                self._drop(conn)
                return
            self.failures += 1
            if self.failures >= FAILURES:
                # The master starts another one.
                self.alive = False
            time.sleep(TICK)

    def _watch(self) -> None:
        """Ends the process if a slot is held for ever, because nothing else gets it back."""
        if not self.alive or not self.wsgi.watchdog.stuck:
            return
        self.alive = False
        self.wsgi.restarts.found_stuck()
        fields = {"code": WorkerStuck.code, "seconds": round(self.wsgi.watchdog.longest, 1)}
        LOG.error("a request holds a slot, and the worker is replaced", extra={"fields": fields})

    def _finish(self) -> None:
        """Answers what was let in, and tells those whom it cannot answer."""
        self.alive, self.wsgi.closing = False, True
        self._try(None, self.set_accept_enabled, False)
        for conn in (*self.pending_conns, *self.keepalived_conns, *self.lingering):
            last = conn.timeout if conn.head else time.monotonic() + LAST_SECONDS
            conn.timeout = min(conn.timeout, last)
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

    def _patience(self, seconds: float) -> float:
        """How long a client may say nothing: at the end of the process not for long."""
        return seconds if self.alive else min(seconds, LAST_SECONDS)

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
        self._try(None, self._welcome, client, address, listener.getsockname())

    def _welcome(self, client: socket.socket, address: Any, server: object) -> None:  # noqa: ANN401
        # Behind proxies the peer is one of them, which all clients share.
        owner = "proxy" if self.app.settings.proxy_hops else client_of(address[0] if address else None)
        try:
            conn = Connection(self.cfg, client, owner, address, server)
        except BaseException:
            client.close()
            raise
        self.connections.add(conn)
        self.nr_conns = len(self.connections)
        if self.nr_conns > self.worker_connections - RESERVE:
            self._shed()
        self._try(conn, self._await_head, conn)

    def on_client_socket_readable(self, conn: Connection, client: PatientSocket) -> None:
        """A connection that was kept alive has its next request, most often all of its head."""
        self._unpark(conn)
        if conn.receive():
            self._begin(conn)
        else:
            self._drop(conn)

    def on_pending_socket_readable(self, conn: Connection, client: PatientSocket) -> None:
        """Takes what is there of a head."""
        more = conn.receive()
        if more and conn.waits:
            self.connections.hold(conn, len(conn.head))
            return
        self._unpark(conn)
        if more:
            self._begin(conn)
        else:
            self._drop(conn)

    def enqueue_req(self, conn: Connection) -> None:
        """Gives a request to a thread; a health check to one that has nothing else to do.

        What asks for no model, and what finds no place in the queue, does not stand in line for its answer.
        """
        self.connections.hold(conn, len(conn.head))
        crew = self._crew(conn)
        conn.sock.begin()
        if self._overfull(conn, crew):
            self._refuse(conn, ServerBusy(1))
            return
        self.answering.add(conn)
        self._submit(crew, conn)

    def _submit(self, crew: Crew, conn: Connection) -> None:
        try:
            crew.submit(partial(self._answer, conn), conn.owner)
        except NoThread:
            self.answering.discard(conn)
            self._refuse(conn, ServerBusy(1))

    def _crew(self, conn: Connection) -> Crew:
        """Who answers a request, which is told whether the queue was full when it came."""
        conn.sock.turn = Turn(time.monotonic())
        if self.probe_heads.match(conn.head):
            return self.probes
        if self.metrics_heads.match(conn.head):
            return self.figures
        if conn.head.startswith((b"GET ", b"HEAD ", b"OPTIONS ")):
            return self.light
        if self.tpool.full and self.tpool.waiting >= self.app.settings.queue:
            if not (other := self.tpool.displace(conn.owner)):
                conn.sock.turn = conn.sock.turn._replace(crowded=True)
                return self.light
            self._turn_away(other)
        requests: Crew = self.tpool
        return requests

    def _turn_away(self, task: Callable[[], None]) -> None:
        """Has a request of the client that has most of them in the queue refused."""
        assert isinstance(task, partial)  # noqa: S101
        conn: Connection = task.args[0]
        conn.sock.turn = conn.sock.turn._replace(crowded=True)
        self._submit(self.light, conn)

    def _overfull(self, conn: Connection, crew: Crew) -> bool:
        """Is there no place for a request, not even in line?"""
        if crew is self.figures and crew.waiting >= METRICS_QUEUE:
            return True
        return self.connections.held > HELD_BYTES and self.connections.holds_most(conn.owner)

    def _answer(self, conn: Connection) -> None:
        """In a thread: answers, and tells the loop."""
        conn.sock.turn = conn.sock.turn.begun()
        kept = False
        try:
            kept = bool(self.handle(conn))
        finally:
            self.method_queue.defer(self._try, conn, self.finish_request, conn, kept)

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
        self.connections.hold(conn, len(conn.head) + len(conn.sock.unsent))
        if conn.sock.unsent:
            self._park(conn, self.sending, partial(self._on_writable, conn, kept), SEND_SECONDS, EVENT_WRITE)
        else:
            self._go_on(conn, kept)

    def _on_writable(self, conn: Connection, kept: bool, client: PatientSocket) -> None:
        """Sends more of an answer that the client did not take at once."""
        try:
            client.push()
        except OSError:
            self._drop(conn)
            return
        self.connections.hold(conn, len(conn.head) + len(client.unsent))
        if not client.unsent:
            self._unpark(conn)
            self._go_on(conn, kept)

    def _go_on(self, conn: Connection, kept: bool) -> None:
        """The client can have all of its answer."""
        if not kept:
            self._linger(conn)
        elif conn.head:
            self._begin(conn)
        else:
            readable = partial(self.on_client_socket_readable, conn)
            self._park(conn, self.keepalived_conns, readable, self._patience(self.cfg.keepalive))

    def handle_request(self, req: Any, conn: Connection) -> Any:  # noqa: ANN401  (Gunicorn's own)
        """Answers one request, as far as the client takes the answer at once."""
        request_validation.check(req)
        # Gunicorn would say so before anybody has looked at the request.
        conn.parser.unreader.expected, req._expected_100_continue = req._expected_100_continue, False
        if isinstance(req.body.reader, ChunkedReader):
            req.body = Body(Chunks(conn.parser.unreader))
        kept = super().handle_request(req, conn)
        # From here on the client can send its next request.
        leave()
        conn.sock.flush()
        return kept

    def handle(self, conn: Connection) -> Any:  # noqa: ANN401  (Gunicorn's own)
        """Called in a thread: parses and answers."""
        conn.init()
        conn.hand_over(self.app.settings.body_seconds)
        return super().handle(conn)

    def handle_error(self, req: Any, client: PatientSocket, addr: Any, exc: Exception) -> None:  # noqa: ANN401
        """Answers what is no HTTP, without the name of a host or a line of code."""
        if isinstance(exc, errors.ParseException):
            error = REFUSALS.get(type(exc), RequestMalformed)()
        else:
            self.log.exception("a request failed outside the application")
            error = Internal()
        with suppress(OSError):
            client.answer(self.wsgi.error_response(error))

    def handle_exit(self, sig: int, frame: Any) -> None:  # noqa: ANN401  (a signal handler)
        """Stops on the master's word. Process managers signal all processes, and the master drains first."""
        if not self.app.drain.begun or self.app.drain.over:
            self._end()

    def murder_pending(self) -> None:
        """Closes connections whose head or whose end has taken too long."""
        for conn in self._overdue(self.pending_conns):
            self._try(conn, self._too_slow if conn.head else self._let_go, conn)
        for conn in (*self._overdue(self.sending), *self._overdue(self.lingering)):
            self._drop(conn)

    def murder_keepalived(self) -> None:
        """Closes connections that have been idle for too long."""
        for conn in self._overdue(self.keepalived_conns):
            self._try(conn, self._let_go, conn)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Has the callback of each event called, and looks after those that wait for a thread."""
        for key, _ in self.poller.select(timeout):
            # Whoever was closed in this round has no callback any more, and its number may be another's.
            if self.poller.get_map().get(key.fd) is not key:
                continue
            conn = key.data.args[0] if isinstance(key.data, partial) else None
            self._try(conn, key.data, key.fileobj)
            if self.connections.held > HELD_BYTES:
                self._make_room()
        # Those whose deadline passes while they are in line shall be told, not forgotten.
        self.tpool.hurry(self.app.settings.deadline)

    def _begin(self, conn: Connection) -> None:
        """Decides what becomes of a head as it is now."""
        if conn.complete:
            self.enqueue_req(conn)
        elif conn.waits:
            self._await_head(conn)
        else:
            self._refuse(conn, HeadTooLarge() if conn.plausible else RequestMalformed())

    def _await_head(self, conn: Connection) -> None:
        seconds = self.app.settings.head_seconds
        self.connections.hold(conn, len(conn.head))
        readable = partial(self.on_pending_socket_readable, conn)
        self._park(conn, self.pending_conns, readable, seconds if conn.head else self._patience(seconds))

    def _refuse(self, conn: Connection, error: RequestError) -> None:
        self._send(conn.sock, error)
        self._linger(conn)

    def _linger(self, conn: Connection) -> None:
        """Half-closes. RFC 9112, 9.6: closing while the client still sends would take the answer from it."""
        conn.head = bytearray()
        self.connections.hold(conn, 0)
        try:
            conn.sock.shutdown(socket.SHUT_WR)
            self._park(
                conn, self.lingering, partial(self._on_lingering, conn), self._patience(LINGER_SECONDS)
            )
        except (OSError, ValueError):
            self._drop(conn)

    def _on_lingering(self, conn: Connection, client: PatientSocket) -> None:
        try:
            if client.recv(LINGER_PIECE):
                return
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            pass
        self._drop(conn)

    def _park(
        self, conn: Connection, line: Line, step: Callable[..., None], seconds: float, event: int = EVENT_READ
    ) -> None:
        """Has a connection wait for its client, but not for ever."""
        conn.timeout = time.monotonic() + seconds
        self.connections.park(conn, line)
        self.poller.register(conn.sock, event, step)

    def _unpark(self, conn: Connection) -> None:
        if conn.line is not None:
            self.connections.unpark(conn)
            # It may have failed before it was registered.
            with suppress(KeyError, ValueError, OSError):
                self.poller.unregister(conn.sock)

    def _overdue(self, line: Line) -> list[Connection]:
        """Takes out those whose time is over."""
        now, overdue = time.monotonic(), []
        for conn in line:
            if conn.timeout <= now:
                overdue.append(conn)
            elif self.alive:
                # They stand in the order of their deadlines, until these are shortened.
                break
        for conn in overdue:
            self._unpark(conn)
        return overdue

    def _shed(self) -> bool:
        """Closes a connection that waits for its client. Was there one?"""
        if conn := self.connections.longest_idle():
            self._drop(conn)
        return conn is not None

    def _make_room(self) -> None:
        """Ends connections for which much is kept, until it is little enough."""
        while self.connections.held > HELD_BYTES and (conn := self.connections.heaviest_idle()):
            # Who has not taken an answer would not take this one.
            sending = conn.line is self.sending
            self._unpark(conn)
            if sending:
                self._drop(conn)
            else:
                self._try(conn, self._refuse, conn, ServerBusy(1))

    def _too_slow(self, conn: Connection) -> None:
        self._send(conn.sock, HeadTooSlow(self.app.settings.head_seconds))
        self._drop(conn)

    def _let_go(self, conn: Connection) -> None:
        """Closes a silent connection, unless a request has come since the loop looked for one."""
        if conn.receive() and conn.head:
            self._begin(conn)
        else:
            self._drop(conn)

    def _drop(self, conn: Connection) -> None:
        self._unpark(conn)
        self.answering.discard(conn)
        self.connections.discard(conn)
        self.nr_conns = len(self.connections)
        conn.close()

    def _send(self, sock: PatientSocket, error: RequestError) -> None:
        """Sends an error that does not come from the application, if the client takes it at once."""
        refusal = self.wsgi.error_response(error)
        with suppress(OSError):
            sock.push(refusal)
