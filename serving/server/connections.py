"""A worker's connections, counted by client, and the choice of the one to close when resources run out.

No share is reserved, so a single client may use everything. Only when connections or memory run out is one
closed, and it belongs to the client that uses most of what is short. Clients that use less are not affected.
"""

import re
import socket
from dataclasses import dataclass, field
from typing import Any

from serving.server.gunicorn_seam import GunicornConnection

# Bytes per `recv` of a head: Gunicorn copies its buffer whenever a part of it is taken.
HEAD_READ_BYTES = 8192
# Far above any legitimate head; Gunicorn's parser would take 800 kB.
HEAD_BYTES = 64 * 1024
HEAD_END = b"\r\n\r\n"
# RFC 9112, 2.2: empty lines before a request are ignored.
EMPTY_LINES = re.compile(rb"(?:\r\n)*")
# An LF without CR does not end a line. A head with one would never be complete.
BARE_LF = re.compile(rb"[^\r]\n")


class Connection(GunicornConnection):
    """A client's connection, with the part of its next request's head that has arrived."""

    def __init__(self, cfg: Any, client: socket.socket, owner: str, *peers: object) -> None:  # noqa: ANN401
        super().__init__(cfg, client, *peers)
        # The client that the connection is counted for.
        self.owner = owner
        self.head = bytearray()
        self.head_complete = False
        # False once no further byte can make the head valid.
        self.head_valid = True
        # Bytes of memory that are counted for the connection.
        self.held_bytes = 0
        # The list in which it waits for its client, if it does.
        self.wait_list: WaitList | None = None

    def add_to_head(self, data: bytes) -> None:
        """Appends data to the head and checks it, without looking at earlier data again."""
        seen = max(0, len(self.head) - len(HEAD_END) + 1)
        self.head += data
        if self.head.startswith(b"\r"):
            del self.head[: EMPTY_LINES.match(self.head).end()]  # type: ignore[union-attr]
            seen = 0
        self.head_complete = self.head_complete or self.head.find(HEAD_END, seen) >= 0
        if not self.head_complete:
            begins = not self.head or self.head == b"\r" or b"A" <= self.head[:1] <= b"Z"
            self.head_valid = self.head_valid and begins and not BARE_LF.search(self.head, seen)

    def receive(self) -> bool:
        """Appends received data to the head without blocking; False if the client has closed."""
        try:
            data = self.sock.recv(HEAD_READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        self.add_to_head(data)
        return bool(data)

    @property
    def head_pending(self) -> bool:
        """Whether more data is needed to either answer or refuse the request."""
        return not self.head_complete and self.head_valid and len(self.head) <= HEAD_BYTES

    def pass_head_to_parser(self, body_seconds: float) -> None:
        """Hands the complete head to the parser; called in the thread that runs the request."""
        body_received = len(self.head) - self.head.find(HEAD_END) - len(HEAD_END)
        self.start_parser(bytes(self.head), body_seconds, body_received)
        self.head = bytearray()
        self.head_complete, self.head_valid = False, True


# Connections that wait for the same kind of event, in the order of their deadlines.
WaitList = dict[Connection, None]


@dataclass
class _ClientUsage:
    """What one client uses."""

    connections: int = 0
    held_bytes: int = 0
    # Its connections that wait for the client, the longest waiting first.
    waiting: WaitList = field(default_factory=dict)


class ConnectionTable:
    """All open connections, by client. Used by the event loop only, so it needs no lock."""

    def __init__(self) -> None:
        self._clients: dict[str, _ClientUsage] = {}
        self._connections: set[Connection] = set()
        # Bytes of all incomplete heads and all unsent responses.
        self.held_bytes = 0

    def __len__(self) -> int:
        return len(self._connections)

    def add(self, conn: Connection) -> None:
        """Counts a new connection."""
        self._connections.add(conn)
        self._clients.setdefault(conn.owner, _ClientUsage()).connections += 1

    def discard(self, conn: Connection) -> None:
        """Removes a connection, if it is in the table."""
        if conn not in self._connections:
            return
        self.set_held_bytes(conn, 0)
        self._connections.remove(conn)
        usage = self._clients[conn.owner]
        usage.waiting.pop(conn, None)
        usage.connections -= 1
        if not usage.connections:
            del self._clients[conn.owner]

    def set_held_bytes(self, conn: Connection, size: int) -> None:
        """Records how many bytes are held for a connection."""
        self.held_bytes += size - conn.held_bytes
        self._clients[conn.owner].held_bytes += size - conn.held_bytes
        conn.held_bytes = size

    def start_waiting(self, conn: Connection, wait_list: WaitList) -> None:
        """Records that a connection waits for its client."""
        conn.wait_list = wait_list
        wait_list[conn] = self._clients[conn.owner].waiting[conn] = None

    def stop_waiting(self, conn: Connection) -> None:
        """Records that a connection does not wait any more."""
        if conn.wait_list is not None:
            del conn.wait_list[conn]
            conn.wait_list = None
            self._clients[conn.owner].waiting.pop(conn, None)

    def longest_waiting(self) -> Connection | None:
        """The longest waiting connection of the client with the most connections, if any waits."""
        clients = [usage for usage in self._clients.values() if usage.waiting]
        if not clients:
            return None
        return next(iter(max(clients, key=lambda usage: usage.connections).waiting))

    def heaviest_waiting(self) -> Connection | None:
        """The waiting connection with the most held bytes, of the client with the most held bytes."""
        heavy = [conn for conn in self._most_held().waiting if conn.held_bytes]
        return max(heavy, key=lambda conn: conn.held_bytes, default=None)

    def holds_most(self, owner: str) -> bool:
        """Whether no client holds more bytes than this one."""
        return self._clients[owner].held_bytes >= self._most_held().held_bytes

    def _most_held(self) -> _ClientUsage:
        return max(self._clients.values(), key=lambda usage: usage.held_bytes)
