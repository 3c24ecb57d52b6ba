"""What comes from a client and goes to it: every byte until a deadline, and a body in chunks within bounds.

Gunicorn's own reader of chunks looks for the end of a line in all that has come, and begins anew with every
piece: an endless line, an endless trailer or a million tiny chunks each keep a core busy.
"""

import select
import socket
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from gunicorn.http.errors import NoMoreData
from gunicorn.http.unreader import SocketUnreader

from serving.server.request_validation import chunk_size, is_trailer
from serving.server.thread_pool import aside

# What is read at once.
PIECE = 64 * 1024
# How long an answer may take to be taken: for clients that read nothing.
SEND_SECONDS = 10.0
# Bytes a second that a body must come with, counted over all of it, after so many seconds that are free. The
# slowest mobile network has ten times as much.
LEAST_RATE, FREE_SECONDS = 1000, 5.0
# How often a thread that waits for a body looks if it still may.
LOOK_SECONDS = 0.1
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
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
    """A client's socket, as Gunicorn uses one: nothing here waits for the client but `readable`.

    Whoever asks the system lets the GIL go, and on a busy server gets it back late; Python's socket asks
    twice to read within a time limit, and once more each time the limit is set; Gunicorn sends head and body
    one by one. Here an answer leaves in one piece: `flush` sends what `sendall` has collected, as far as the
    client takes it, and leaves the rest to the event loop.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        # Of the request that is being answered: the socket is what the application sees of a connection.
        self.turn = Turn(time.monotonic())
        # What the client has not taken of an answer.
        self.unsent = memoryview(b"")
        self._sock = sock
        self._answer: list[bytes] = []
        # Held by whoever answers the request.
        self._claimed = threading.Lock()
        self.fileno, self.shutdown, self.close, self.recv = sock.fileno, sock.shutdown, sock.close, sock.recv

    def setblocking(self, blocking: bool) -> None:
        """Nothing: Gunicorn would wait for the client here."""

    def settimeout(self, seconds: float | None) -> None:
        """Nothing, for the same reason."""

    def readable(self, seconds: float) -> bool:
        """Waits for the client to send something, or to end, while other threads go on."""
        watch = select.poll()
        watch.register(self._sock, select.POLLIN)
        with aside():
            return bool(watch.poll(max(0.0, 1000 * seconds)))

    def sendall(self, data: bytes) -> None:
        """Collects a piece of an answer."""
        self._answer.append(data)

    def flush(self) -> None:
        """Sends what was collected, unless the request was answered meanwhile."""
        answer, self._answer = b"".join(self._answer), []
        if self.claim():
            self.push(answer)

    def answer(self, data: bytes) -> None:
        """Sends this instead of what was collected."""
        self._answer = [data]
        self.flush()

    def push(self, data: bytes = b"") -> None:
        """Sends as much as the client takes now of what is left and of `data`; `OSError` if it has gone."""
        left, self.unsent = memoryview(bytes(self.unsent) + data) if data else self.unsent, memoryview(b"")
        try:
            while left:
                left = left[self._sock.send(left) :]
        except (BlockingIOError, InterruptedError):
            self.unsent = left

    def begin(self) -> None:
        """There is a new request to be answered."""
        self._claimed = threading.Lock()

    def claim(self) -> bool:
        """May the caller answer the request? At the end of the process two would: a thread and the loop."""
        return self._claimed.acquire(blocking=False)


class PatientUnreader(SocketUnreader):  # type: ignore[misc]
    """Reads a body: what has come at once, the rest within bounds of time that a client cannot extend."""

    def __init__(self, sock: PatientSocket) -> None:
        super().__init__(sock, PIECE)
        self.begin(float("inf"))

    def begin(self, seconds: float, received: int = 0) -> None:
        """There is a new request, whose body may take so long; some of it has come with its head."""
        self.began = time.monotonic()
        self.deadline = self.began + seconds
        self.received = received
        # Does the client wait for a word before it sends its body (RFC 9110, 10.1.1)?
        self.expected = False
        # Called before each wait for the client, with the bytes that came; raises if there shall be none.
        self.permit: Callable[[int], None] = lambda _: None

    def chunk(self) -> bytes:
        """What the client has sent, or `TooSlow`."""
        if self.deadline <= time.monotonic():
            raise TooSlow
        while True:
            try:
                data: bytes = self.sock.recv(self.mxchunk)
            except BlockingIOError:
                self._wait()
            else:
                self.received += len(data)
                return data

    def _wait(self) -> None:
        self.permit(self.received)
        if self.expected:
            self.expected = False
            self.sock.push(CONTINUE)
        least = self.began + FREE_SECONDS + self.received / LEAST_RATE
        until = min(self.deadline, least)
        while not self.sock.readable(min(LOOK_SECONDS, until - time.monotonic())):
            if until <= time.monotonic():
                raise TooSlow
            self.permit(self.received)


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
        size = chunk_size(self._line(LINE_BYTES))
        if size is None:
            raise ChunksInvalid("a chunk has no size, or extensions that are none")
        self._left = size
        if not size:
            self._end()

    def _end(self) -> None:
        left = TRAILER_BYTES
        while line := self._line(left):
            left -= len(line)
            if not is_trailer(line):
                raise ChunksInvalid("a trailer is no field, or one that must come before the body")
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
