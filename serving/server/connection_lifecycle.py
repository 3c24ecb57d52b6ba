"""The life of a connection in the event loop: accept, read heads, send responses, keep alive, close.

Nothing here blocks. A connection that waits for its client is in exactly one wait list, with a deadline:

    accept → reading_heads → dispatch (serving/server/request_dispatch.py) → [sending] → keepalived_conns
                                                                               ↓              ↓
                                                                           lingering → close  next head
"""

import errno
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from selectors import EVENT_READ, EVENT_WRITE
from typing import Any

from serving.api.errors import HeadTooLarge, HeadTooSlow, RequestError, RequestMalformed, ServerBusy
from serving.log import LOG
from serving.server.client_address import client_from_address
from serving.server.client_socket import SEND_SECONDS, ClientSocket
from serving.server.connections import Connection, ConnectionTable, WaitList
from serving.server.gunicorn_seam import GunicornWorker

# After the last byte of a response, how long data from the client is discarded until it closes, and how much
# of it is read at once.
LINGER_SECONDS, LINGER_READ_BYTES = 5.0, 256 * 1024
# The same during a graceful stop, which silent clients must not delay.
SHUTDOWN_LINGER_SECONDS = 1.0
# How often the event loop closes overdue connections and sends the heartbeat to the master process.
TICK_SECONDS = 0.25
# All incomplete heads and unsent responses together, in bytes: 4 kB for each possible connection.
MAX_HELD_BYTES = 16 * 2**20
# Connections kept free below the limit, so that health checks still get in.
RESERVED_CONNECTIONS = 50
# Errors of accept(): the system is out of resources, or the listener is closed.
RESOURCE_ERRORS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
LISTENER_ERRORS = {errno.EBADF, errno.EINVAL, errno.ENOTSOCK}
# The worker process ends after so many failed steps in a row that concern no single connection.
MAX_FAILURES = 10


class ConnectionLifecycle(GunicornWorker):
    """Handles the events of connections. A subclass says what becomes of a complete head."""

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401  (Gunicorn's own)
        super().__init__(*arguments, **named)
        self.connections = ConnectionTable()
        self.reading_heads: WaitList = {}
        self.sending: WaitList = {}
        # Kept alive, without a byte of the next request. The base class reads its length.
        self.keepalived_conns: WaitList = {}
        self.lingering: WaitList = {}
        # Connections whose request is queued or runs in a thread.
        self.in_progress: set[Connection] = set()
        # Failed steps in a row.
        self.failures = 0

    def dispatch(self, conn: Connection) -> None:
        """Passes on a request whose head is complete."""
        raise NotImplementedError

    # The event loop's steps.

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
            if self.connections.held_bytes > MAX_HELD_BYTES:
                self._free_held_bytes()

    def close_overdue(self) -> None:
        """Closes the connections whose deadline has passed."""
        for conn in self._take_overdue(self.keepalived_conns):
            self.guard(conn, self.close_if_silent, conn)
        for conn in self._take_overdue(self.reading_heads):
            self.guard(conn, self.refuse_slow_head if conn.head else self.close_if_silent, conn)
        for conn in (*self._take_overdue(self.sending), *self._take_overdue(self.lingering)):
            self.close_connection(conn)

    # Accepting.

    def accept(self, listener: socket.socket) -> None:
        """Accepts a connection. Overrides a method of the base class, which registers it with the poller."""
        try:
            client, address = listener.accept()
        except OSError as error:
            if error.errno in LISTENER_ERRORS:
                raise
            if error.errno in RESOURCE_ERRORS and not self._evict_longest_waiting():
                # The connection stays in the listener's backlog; the loop must not spin meanwhile.
                time.sleep(TICK_SECONDS)
            return
        self.guard(None, self._add_connection, client, address, listener.getsockname())

    def _add_connection(self, client: socket.socket, address: Any, server: object) -> None:  # noqa: ANN401
        # Behind proxies the peer is one of them, shared by all clients.
        owner = (
            "proxy" if self.app.settings.proxy_hops else client_from_address(address[0] if address else None)
        )
        try:
            conn = Connection(self.cfg, client, owner, address, server)
        except BaseException:
            client.close()
            raise
        self.connections.add(conn)
        if len(self.connections) > self.worker_connections - RESERVED_CONNECTIONS:
            self._evict_longest_waiting()
        self.guard(conn, self._wait_for_head, conn)

    # Reading heads.

    def _wait_for_head(self, conn: Connection) -> None:
        seconds = self.app.settings.head_seconds
        self.connections.set_held_bytes(conn, len(conn.head))
        callback = partial(self._on_head_readable, conn)
        self._wait(conn, self.reading_heads, callback, seconds if conn.head else self._cap_seconds(seconds))

    def _on_head_readable(self, conn: Connection, client: ClientSocket) -> None:
        received = conn.receive()
        if received and conn.head_pending:
            self.connections.set_held_bytes(conn, len(conn.head))
            return
        self._stop_waiting(conn)
        if received:
            self._process_head(conn)
        else:
            self.close_connection(conn)

    def _on_idle_readable(self, conn: Connection, client: ClientSocket) -> None:
        """A kept connection has its next request, most often with all of its head."""
        self._stop_waiting(conn)
        if conn.receive():
            self._process_head(conn)
        else:
            self.close_connection(conn)

    def _process_head(self, conn: Connection) -> None:
        """Dispatches the request, waits for the rest of its head, or refuses it."""
        if conn.head_complete:
            self.dispatch(conn)
        elif conn.head_pending:
            self._wait_for_head(conn)
        else:
            self.refuse(conn, HeadTooLarge() if conn.head_valid else RequestMalformed())

    def refuse_slow_head(self, conn: Connection) -> None:
        """Responds to a head that has not been completed in time, and closes."""
        self._send_error(conn.sock, HeadTooSlow(self.app.settings.head_seconds))
        self.close_connection(conn)

    # Sending responses.

    def send_rest(self, conn: Connection, keep_alive: bool) -> None:
        """Sends what the client has not accepted of its response, then continues with the connection."""
        self.connections.set_held_bytes(conn, len(conn.head) + len(conn.sock.unsent))
        if conn.sock.unsent:
            callback = partial(self._on_writable, conn, keep_alive)
            self._wait(conn, self.sending, callback, SEND_SECONDS, EVENT_WRITE)
        else:
            self.continue_connection(conn, keep_alive)

    def _on_writable(self, conn: Connection, keep_alive: bool, client: ClientSocket) -> None:
        try:
            client.send_available()
        except OSError:
            self.close_connection(conn)
            return
        self.connections.set_held_bytes(conn, len(conn.head) + len(client.unsent))
        if not client.unsent:
            self._stop_waiting(conn)
            self.continue_connection(conn, keep_alive)

    def continue_connection(self, conn: Connection, keep_alive: bool) -> None:
        """After a whole response: lingers, processes a pipelined request, or waits for the next one."""
        if not keep_alive:
            self.linger(conn)
        elif conn.head:
            self._process_head(conn)
        else:
            callback = partial(self._on_idle_readable, conn)
            self._wait(conn, self.keepalived_conns, callback, self._cap_seconds(self.cfg.keepalive))

    def refuse(self, conn: Connection, error: RequestError) -> None:
        """Responds with an error outside the application, and closes."""
        self._send_error(conn.sock, error)
        self.linger(conn)

    def _send_error(self, sock: ClientSocket, error: RequestError) -> None:
        response = self.wsgi.error_response(error)
        with suppress(OSError):
            sock.send_available(response)

    # Closing.

    def linger(self, conn: Connection) -> None:
        """Half-closes. RFC 9112, 9.6: to close while the client still sends could lose the response."""
        conn.head = bytearray()
        self.connections.set_held_bytes(conn, 0)
        try:
            conn.sock.shutdown(socket.SHUT_WR)
            callback = partial(self.discard_input, conn)
            self._wait(conn, self.lingering, callback, self._cap_seconds(LINGER_SECONDS))
        except (OSError, ValueError):
            self.close_connection(conn)

    def discard_input(self, conn: Connection, client: ClientSocket) -> None:
        """Discards what a half-closed client sends, and closes once it has closed."""
        try:
            if client.recv(LINGER_READ_BYTES):
                return
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            pass
        self.close_connection(conn)

    def close_if_silent(self, conn: Connection) -> None:
        """Closes an idle connection, unless a request has arrived since the last events."""
        if conn.receive() and conn.head:
            self._process_head(conn)
        else:
            self.close_connection(conn)

    def close_connection(self, conn: Connection) -> None:
        """Closes the socket and forgets the connection."""
        self._stop_waiting(conn)
        self.in_progress.discard(conn)
        self.connections.discard(conn)
        conn.close()

    def _evict_longest_waiting(self) -> bool:
        """Closes a waiting connection of the client with the most; False if there is none."""
        if conn := self.connections.longest_waiting():
            self.close_connection(conn)
        return conn is not None

    def _free_held_bytes(self) -> None:
        """Ends connections of the clients with the most held bytes until the limit is met."""
        while self.connections.held_bytes > MAX_HELD_BYTES and (conn := self.connections.heaviest_waiting()):
            # A client that does not accept its response would not accept an error either.
            sending = conn.wait_list is self.sending
            self._stop_waiting(conn)
            if sending:
                self.close_connection(conn)
            else:
                self.guard(conn, self.refuse, conn, ServerBusy(1))

    # Waiting for clients.

    def _wait(
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

    def _stop_waiting(self, conn: Connection) -> None:
        if conn.wait_list is not None:
            self.connections.stop_waiting(conn)
            # A failure before the registration leaves the connection in a list without it.
            with suppress(KeyError, ValueError, OSError):
                self.poller.unregister(conn.sock)

    def _take_overdue(self, wait_list: WaitList) -> list[Connection]:
        """Removes and returns the connections whose deadline has passed."""
        now, overdue = time.monotonic(), []
        for conn in wait_list:
            if conn.timeout <= now:
                overdue.append(conn)
            elif self.alive:
                # The list is in the order of deadlines, until a graceful stop shortens them.
                break
        for conn in overdue:
            self._stop_waiting(conn)
        return overdue

    def _cap_seconds(self, seconds: float) -> float:
        """A time limit for a silent client: short during a graceful stop."""
        return seconds if self.alive else min(seconds, SHUTDOWN_LINGER_SECONDS)
