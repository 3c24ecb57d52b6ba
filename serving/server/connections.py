"""The connections of a worker: who has how many, what they hold, and who has to go when that is too much.

Nothing is shared out beforehand, so a single client may have all that there is. Only when connections or
memory run out does one of them end, and it is one of the client that has most of what is short: whoever has
less than others keeps all of it.
"""

import re
import socket
from dataclasses import dataclass, field
from typing import Any

from gunicorn.workers.gthread import TConn

from serving.server.client_socket import PatientSocket, PatientUnreader

# Read at once of a head: what lies in Gunicorn's buffer is copied whenever some of it is taken.
HEAD_PIECE = 8192
# No client that means well sends more; Gunicorn's parser would take 800 kB.
HEAD_BYTES = 64 * 1024
HEAD_END = b"\r\n\r\n"
# RFC 9112, 2.2: empty lines before a request are passed over.
EMPTY_LINES = re.compile(rb"(?:\r\n)*")
# The end of a line that is none. A head that has one would never be complete.
BARE_LF = re.compile(rb"[^\r]\n")


class Connection(TConn):  # type: ignore[misc]
    """A client's connection, and the head of its next request as far as it has come."""

    def __init__(self, cfg: Any, client: socket.socket, owner: str, *peers: object) -> None:  # noqa: ANN401
        super().__init__(cfg, PatientSocket(client), *peers)
        # Who counts as the client.
        self.owner = owner
        self.head = bytearray()
        # Has all of the head come? And can it still become one?
        self.complete, self.plausible = False, True
        # Bytes that count as held for it.
        self.held = 0
        # Where it waits for its client.
        self.line: Line | None = None
        self.data_ready = True  # no thread shall wait for it

    def take(self, data: bytes) -> None:
        """Adds to the head."""
        seen = max(0, len(self.head) - len(HEAD_END) + 1)
        self.head += data
        if self.head.startswith(b"\r"):
            del self.head[: EMPTY_LINES.match(self.head).end()]  # type: ignore[union-attr]
            seen = 0
        self.complete = self.complete or self.head.find(HEAD_END, seen) >= 0
        if not self.complete:
            begins = not self.head or self.head == b"\r" or b"A" <= self.head[:1] <= b"Z"
            self.plausible = self.plausible and begins and not BARE_LF.search(self.head, seen)

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
    def waits(self) -> bool:
        """Can the head neither be answered nor be refused yet?"""
        return not self.complete and self.plausible and len(self.head) <= HEAD_BYTES

    def hand_over(self, body_seconds: float) -> None:
        """Gives the head to the parser; called by the thread that answers."""
        if not isinstance(self.parser.unreader, PatientUnreader):
            self.parser.unreader = PatientUnreader(self.sock)
        body = len(self.head) - self.head.find(HEAD_END) - len(HEAD_END)
        self.parser.unreader.begin(body_seconds, body)
        self.parser.unreader.unread(bytes(self.head))
        self.head = bytearray()
        self.complete, self.plausible = False, True


# Connections that wait for the same, in the order of their deadlines.
Line = dict[Connection, None]


@dataclass
class _Holding:
    """What one client has."""

    connections: int = 0
    held: int = 0
    # Those that wait for their client, the longest first.
    idle: Line = field(default_factory=dict)


class Connections:
    """All open connections by client; for the event loop alone."""

    def __init__(self) -> None:
        self._clients: dict[str, _Holding] = {}
        self._all: set[Connection] = set()
        # Bytes of heads and of answers that clients have not taken.
        self.held = 0

    def __len__(self) -> int:
        return len(self._all)

    def add(self, conn: Connection) -> None:
        """Counts a connection."""
        self._all.add(conn)
        self._clients.setdefault(conn.owner, _Holding()).connections += 1

    def discard(self, conn: Connection) -> None:
        """Forgets a connection, if it is known."""
        if conn not in self._all:
            return
        self.hold(conn, 0)
        self._all.remove(conn)
        holding = self._clients[conn.owner]
        holding.idle.pop(conn, None)
        holding.connections -= 1
        if not holding.connections:
            del self._clients[conn.owner]

    def hold(self, conn: Connection, size: int) -> None:
        """Says how many bytes are kept for a connection."""
        self.held += size - conn.held
        self._clients[conn.owner].held += size - conn.held
        conn.held = size

    def park(self, conn: Connection, line: Line) -> None:
        """Puts a connection where it waits for its client."""
        conn.line = line
        line[conn] = self._clients[conn.owner].idle[conn] = None

    def unpark(self, conn: Connection) -> None:
        """Takes it out again, if it waits."""
        if conn.line is not None:
            del conn.line[conn]
            conn.line = None
            self._clients[conn.owner].idle.pop(conn, None)

    def longest_idle(self) -> Connection | None:
        """Of the client with most connections the one that has waited for longest."""
        idle = [holding for holding in self._clients.values() if holding.idle]
        if not idle:
            return None
        return next(iter(max(idle, key=lambda holding: holding.connections).idle))

    def heaviest_idle(self) -> Connection | None:
        """Of the client for which most bytes are kept the connection with most, if any of them waits."""
        heavy = [conn for conn in self._most_held().idle if conn.held]
        return max(heavy, key=lambda conn: conn.held, default=None)

    def holds_most(self, owner: str) -> bool:
        """Are for no client more bytes kept?"""
        return self._clients[owner].held >= self._most_held().held

    def _most_held(self) -> _Holding:
        return max(self._clients.values(), key=lambda holding: holding.held)
