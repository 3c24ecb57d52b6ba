"""What comes from a client and goes to it: every byte until a deadline, and a body in chunks within bounds.

Gunicorn's own reader of chunks looks for the end of a line in all that has come, and begins anew with every
piece: an endless line, an endless trailer or a million tiny chunks each keep a core busy.
"""

import select
import socket
import threading
import time
from typing import NamedTuple

from gunicorn.http.errors import NoMoreData
from gunicorn.http.unreader import SocketUnreader

from serving.crew import aside

# What is read at once.
PIECE = 64 * 1024
# How long an answer may take to be taken: for clients that read nothing.
SEND_SECONDS = 10.0
# Of a line with the size of a chunk and what its extensions say, and of all trailers.
LINE_BYTES, TRAILER_BYTES = 1024, 8192
# Bytes of frames for each byte of body, beyond an allowance: a chunk of one byte has five of them.
OVERHEAD, ALLOWANCE = 4, 64 * 1024


class TooSlow(NoMoreData):  # type: ignore[misc]
    """The deadline of a request has passed before it was complete."""


class ChunksInvalid(OSError):
    """A body in chunks is not framed as HTTP/1.1 has it, or hardly anything but frames."""


class Turn(NamedTuple):
    """When a request had come (a monotonic moment), if the queue was full by then, and how long it waited."""

    came: float
    crowded: bool = False
    waited: float = 0.0

    def begun(self) -> "Turn":
        """Now a thread takes it."""
        return self._replace(waited=time.monotonic() - self.came)


class PatientSocket:
    """A client's socket, as Gunicorn uses one. It asks the system only for what must be asked.

    Whoever asks lets the GIL go, and on a busy server gets it back late. Python's socket asks twice to read
    within a time limit, and once more each time the limit is set; Gunicorn sends head and body one by one.
    Here the limit is kept outside the system, the socket is waited for only when it is not ready, and an
    answer leaves in one piece: `flush` sends what `sendall` has collected.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        # Of the request that is being answered: the socket is what the application sees of a connection.
        self.turn = Turn(time.monotonic())
        self._sock = sock
        self._seconds: float | None = None
        self._answer: list[bytes] = []
        # Held by whoever answers the request.
        self._claimed = threading.Lock()
        self.fileno, self.shutdown, self.close = sock.fileno, sock.shutdown, sock.close

    def settimeout(self, seconds: float | None) -> None:
        """Of each call from now on: None waits for ever, 0 does not wait."""
        self._seconds = seconds

    def gettimeout(self) -> float | None:
        """What `settimeout` was told."""
        return self._seconds

    def setblocking(self, blocking: bool) -> None:
        """The same, as a yes or no."""
        self._seconds = None if blocking else 0.0

    def recv(self, size: int) -> bytes:
        """Up to `size` bytes; none when the client has ended. Raises `TimeoutError` or `BlockingIOError`."""
        until = self._until()
        while True:
            try:
                return self._sock.recv(size)
            except BlockingIOError:
                self._wait(select.POLLIN, until)

    def send(self, data: bytes) -> int:
        """Sends all of it now, whatever is being collected; raises like `recv`."""
        until, left = self._until(), memoryview(data)
        while left:
            try:
                left = left[self._sock.send(left) :]
            except BlockingIOError:
                self._wait(select.POLLOUT, until)
        return len(data)

    def sendall(self, data: bytes) -> None:
        """Collects a piece of an answer."""
        self._answer.append(data)

    def flush(self) -> None:
        """Sends what was collected, unless the request was answered meanwhile."""
        answer, self._answer = b"".join(self._answer), []
        if self.claim():
            self.send(answer)

    def begin(self) -> None:
        """There is a new request to be answered."""
        self._claimed = threading.Lock()

    def claim(self) -> bool:
        """May the caller answer the request? At the end of the process two would: a thread and the loop."""
        return self._claimed.acquire(blocking=False)

    def _until(self) -> float | None:
        return None if self._seconds is None else time.monotonic() + self._seconds

    def _wait(self, event: int, until: float | None) -> None:
        if self._seconds == 0:
            raise BlockingIOError
        watch = select.poll()
        watch.register(self._sock, event)
        with aside():
            ready = watch.poll(None if until is None else max(0.0, 1000 * (until - time.monotonic())))
        if not ready:
            raise TimeoutError


class PatientUnreader(SocketUnreader):  # type: ignore[misc]
    """Reads from a socket until a moment that has been set, not until a client falls silent."""

    def __init__(self, sock: PatientSocket) -> None:
        super().__init__(sock, PIECE)
        self.deadline = float("inf")

    def chunk(self) -> bytes:
        """What the client has sent, or `TooSlow`."""
        remaining = self.deadline - time.monotonic()
        if remaining <= 0:
            raise TooSlow
        before = self.sock.gettimeout()
        self.sock.settimeout(remaining)
        try:
            data: bytes = super().chunk()
        except TimeoutError:
            raise TooSlow from None
        finally:
            self.sock.settimeout(before)
        return data


class Chunks:
    """The body that a client sends in chunks (RFC 9112, 7.1). Extensions and trailers are passed over."""

    def __init__(self, unreader: PatientUnreader) -> None:
        self.unreader = unreader
        self._buffer, self._at = b"", 0
        self._left = 0
        self._wire = self._payload = 0
        self._begun = self._ended = False

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, fewer only at the end. Raises `ChunksInvalid` or `NoMoreData`."""
        found = bytearray()
        while len(found) < size and not self._ended:
            if not self._left:
                self._next_chunk()
                continue
            if self._at == len(self._buffer):
                self._fill()
            part = self._buffer[self._at : self._at + min(self._left, size - len(found))]
            self._at += len(part)
            self._left -= len(part)
            self._payload += len(part)
            found += part
        return bytes(found)

    def _next_chunk(self) -> None:
        if self._begun and self._line(2):
            raise ChunksInvalid("a chunk is longer than it says")
        self._begun = True
        size = self._line(LINE_BYTES).partition(b";")[0].rstrip(b" \t")
        if not size or len(size) > 8 or size.strip(b"0123456789abcdefABCDEF"):
            raise ChunksInvalid("a chunk has no size")
        self._left = int(size, 16)
        if not self._left:
            self._end()

    def _end(self) -> None:
        left = TRAILER_BYTES
        while line := self._line(left):
            left -= len(line)
        self._ended = True
        # It belongs to the next request.
        self.unreader.unread(self._buffer[self._at :])

    def _line(self, limit: int) -> bytes:
        """The bytes up to the next CRLF."""
        while (end := self._buffer.find(b"\r\n", self._at, self._at + limit + 2)) < 0:
            if len(self._buffer) - self._at > limit + 1:
                raise ChunksInvalid("a line between chunks has no end")
            self._fill()
        line = self._buffer[self._at : end]
        self._at = end + 2
        return line

    def _fill(self) -> None:
        if self._wire > OVERHEAD * self._payload + ALLOWANCE:
            raise ChunksInvalid("it is hardly anything but frames")
        data = self.unreader.read()
        if not data:
            raise NoMoreData
        self._wire += len(data)
        self._buffer, self._at = self._buffer[self._at :] + data, 0
