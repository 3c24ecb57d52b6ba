"""The life of a connection in the event loop: accept, read heads, send responses, keep alive, close.

Nothing here blocks. A connection that waits for its client is in exactly one wait list, with a deadline:

    accept → reading_heads → dispatch (serving/server/request_dispatch.py) → [sending] → keepalived_conns
                                                                               ↓              ↓
                                                                           lingering → close  next head
"""

import errno
import socket
import time
from contextlib import suppress
from functools import partial
from selectors import EVENT_WRITE
from typing import Any

from serving.api.errors import HeadTooLarge, HeadTooSlow, RequestError, RequestMalformed, ServerBusy
from serving.server.client_address import client_from_address
from serving.server.client_socket import SEND_SECONDS, ClientSocket
from serving.server.connections import Connection
from serving.server.event_loop import TICK_SECONDS, EventLoop

# After the last byte of a response, how long data from the client is discarded until it closes, and how much
# of it is read at once.
LINGER_SECONDS, LINGER_READ_BYTES = 5.0, 256 * 1024
# All incomplete heads and unsent responses together, in bytes: 4 kB for each possible connection.
MAX_HELD_BYTES = 16 * 2**20
# Connections kept free below the limit, so that health checks still get in.
RESERVED_CONNECTIONS = 50
# Errors of accept(): the system is out of resources, or the listener is closed.
RESOURCE_ERRORS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
LISTENER_ERRORS = {errno.EBADF, errno.EINVAL, errno.ENOTSOCK}


class ConnectionLifecycle(EventLoop):
    """Handles the events of connections. A subclass dispatches complete requests."""

    def dispatch(self, conn: Connection) -> None:
        """Passes on a request whose head is complete."""
        raise NotImplementedError

    def close_overdue(self) -> None:
        """Closes the connections whose deadline has passed."""
        for conn in self.take_overdue(self.keepalived_conns):
            self.guard(conn, self.close_if_silent, conn)
        for conn in self.take_overdue(self.reading_heads):
            self.guard(conn, self.refuse_slow_head if conn.head else self.close_if_silent, conn)
        for conn in (*self.take_overdue(self.sending), *self.take_overdue(self.lingering)):
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
        if not conn.head:
            seconds = self.cap_seconds(seconds)
        self.wait_for_client(conn, self.reading_heads, partial(self._on_head_readable, conn), seconds)

    def _on_head_readable(self, conn: Connection, client: ClientSocket) -> None:
        received = conn.receive()
        if received and conn.head_pending:
            self.connections.set_held_bytes(conn, len(conn.head))
            return
        self.stop_waiting(conn)
        if received:
            self._process_head(conn)
        else:
            self.close_connection(conn)

    def _on_idle_readable(self, conn: Connection, client: ClientSocket) -> None:
        """A kept connection has its next request, most often with all of its head."""
        self.stop_waiting(conn)
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
            self.wait_for_client(conn, self.sending, callback, SEND_SECONDS, EVENT_WRITE)
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
            self.stop_waiting(conn)
            self.continue_connection(conn, keep_alive)

    def continue_connection(self, conn: Connection, keep_alive: bool) -> None:
        """After a whole response: lingers, processes a pipelined request, or waits for the next one."""
        if not keep_alive:
            self.linger(conn)
        elif conn.head:
            self._process_head(conn)
        else:
            callback = partial(self._on_idle_readable, conn)
            self.wait_for_client(conn, self.keepalived_conns, callback, self.cap_seconds(self.cfg.keepalive))

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
            self.wait_for_client(conn, self.lingering, callback, self.cap_seconds(LINGER_SECONDS))
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

    def _evict_longest_waiting(self) -> bool:
        """Closes a waiting connection of the client with the most; False if there is none."""
        if conn := self.connections.longest_waiting():
            self.close_connection(conn)
        return conn is not None

    def after_event(self) -> None:
        """Ends connections of the clients with the most held bytes until the limit is met."""
        while self.connections.held_bytes > MAX_HELD_BYTES and (conn := self.connections.heaviest_waiting()):
            # A client that does not accept its response would not accept an error either.
            sending = conn.wait_list is self.sending
            self.stop_waiting(conn)
            if sending:
                self.close_connection(conn)
            else:
                self.guard(conn, self.refuse, conn, ServerBusy(1))
