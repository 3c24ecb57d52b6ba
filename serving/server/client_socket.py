"""Client socket and body readers with a deadline for every byte, and a bounded parser for chunked bodies.

Gunicorn's own chunked reader searches all received data for the end of a line again with every piece. An
endless line, an endless trailer or a million tiny chunks each keep a core busy.
"""

import select
import socket
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from gunicorn.http.errors import NoMoreData
from gunicorn.http.unreader import SocketUnreader

from serving.server.request_validation import is_allowed_trailer, parse_chunk_size
from serving.server.thread_pool import yield_slot

# Bytes per `recv` of a body.
READ_BYTES = 64 * 1024
# How long a client may take to accept a response, for clients that read nothing.
SEND_SECONDS = 10.0
# Minimum rate of an upload, averaged over the whole body, after a period without a minimum. The slowest
# mobile networks are ten times as fast.
MIN_BYTES_PER_SECOND, RATE_FREE_SECONDS = 1000, 5.0
# How often a thread that waits for a body checks that the upload may still go on.
POLL_SECONDS = 0.1
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
# Limits of a chunk's size line with its extensions, and of all trailers together.
CHUNK_LINE_BYTES, TRAILER_BYTES = 1024, 8192
# Framing bytes allowed for each byte of body, and in addition: a chunk of one byte has five of them.
FRAMING_RATIO, FRAMING_ALLOWANCE = 4, 64 * 1024


class DeadlinePassed(NoMoreData):  # type: ignore[misc]
    """The deadline of a request passed before its body was complete."""


class ChunkFramingInvalid(OSError):
    """A chunked body is not framed as HTTP/1.1 requires, or consists of little but framing."""


class QueueTiming(NamedTuple):
    """When a request's head was complete (monotonic seconds), and how it was queued."""

    arrived: float
    # Whether the queue was full at that moment, so that the request is refused.
    queue_full: bool = False
    # Seconds in the queue of a thread pool.
    waited: float = 0.0

    def dequeued(self) -> "QueueTiming":
        """Completed with the time in the queue; called when a thread takes the request."""
        return self._replace(waited=time.monotonic() - self.arrived)


class ClientSocket:
    """A client's socket as Gunicorn uses one. Only `wait_readable` blocks.

    Every system call releases the GIL, which a busy server gets back late. Python's socket makes two calls
    for each read with a timeout and one more when the timeout is set, and Gunicorn sends head and body
    separately. Here a response leaves in one call: `sendall` collects, `flush` sends as much as the client
    accepts at once, and the event loop sends the rest.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        # Of the current request. The application reaches it through `environ["gunicorn.socket"]`.
        self.timing = QueueTiming(time.monotonic())
        # The part of a response that the client has not accepted yet.
        self.unsent = memoryview(b"")
        self._sock = sock
        self._response: list[bytes] = []
        # Acquired by the thread, or the event loop, that responds to the request.
        self._response_claimed = threading.Lock()
        self.fileno, self.shutdown, self.close, self.recv = sock.fileno, sock.shutdown, sock.close, sock.recv

    def setblocking(self, blocking: bool) -> None:
        """Does nothing: Gunicorn would make the socket block here."""

    def settimeout(self, seconds: float | None) -> None:
        """Does nothing, for the same reason."""

    def wait_readable(self, seconds: float) -> bool:
        """Waits for data, or for the end of the connection, without holding a slot of the thread pool."""
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        with yield_slot():
            return bool(poll.poll(max(0.0, 1000 * seconds)))

    def sendall(self, data: bytes) -> None:
        """Collects a piece of a response."""
        self._response.append(data)

    def flush(self) -> None:
        """Sends the collected response, unless the event loop has responded already."""
        response, self._response = b"".join(self._response), []
        if self.claim_response():
            self.send_available(response)

    def replace_response(self, data: bytes) -> None:
        """Sends `data` in place of the collected response."""
        self._response = [data]
        self.flush()

    def send_available(self, data: bytes = b"") -> None:
        """Sends as much of `unsent` and `data` as the client accepts now; `OSError` if it has gone."""
        rest, self.unsent = memoryview(bytes(self.unsent) + data) if data else self.unsent, memoryview(b"")
        try:
            while rest:
                rest = rest[self._sock.send(rest) :]
        except (BlockingIOError, InterruptedError):
            self.unsent = rest

    def begin_request(self) -> None:
        """Prepares for the response to a new request."""
        self._response_claimed = threading.Lock()

    def claim_response(self) -> bool:
        """Whether the caller may respond. At shutdown both a thread and the event loop may try to."""
        return self._response_claimed.acquire(blocking=False)


class DeadlineUnreader(SocketUnreader):  # type: ignore[misc]
    """Reads a body within a deadline and at a minimum rate; data that has arrived is read without waiting."""

    def __init__(self, sock: ClientSocket) -> None:
        super().__init__(sock, READ_BYTES)
        self.begin_request(float("inf"))

    def begin_request(self, seconds: float, received: int = 0) -> None:
        """Starts the deadline of a new request. `received` bytes of its body came with its head."""
        self.began = time.monotonic()
        self.deadline = self.began + seconds
        self.received = received
        # Whether the client waits for "100 Continue" before it sends the body (RFC 9110, 10.1.1).
        self.expects_continue = False
        # Called with the bytes received before each wait for the client; raises to end the upload.
        self.before_wait: Callable[[int], None] = lambda _: None

    def chunk(self) -> bytes:
        """The data received next, empty at the end of the connection; raises `DeadlinePassed`."""
        if self.deadline <= time.monotonic():
            raise DeadlinePassed
        while True:
            try:
                data: bytes = self.sock.recv(self.mxchunk)
            except BlockingIOError:
                self._wait()
            else:
                self.received += len(data)
                return data

    def _wait(self) -> None:
        self.before_wait(self.received)
        if self.expects_continue:
            self.expects_continue = False
            self.sock.send_available(CONTINUE)
        rate_deadline = self.began + RATE_FREE_SECONDS + self.received / MIN_BYTES_PER_SECOND
        deadline = min(self.deadline, rate_deadline)
        while not self.sock.wait_readable(min(POLL_SECONDS, deadline - time.monotonic())):
            if deadline <= time.monotonic():
                raise DeadlinePassed
            self.before_wait(self.received)


class ChunkedBodyReader:
    """Reads a chunked body (RFC 9112, 7.1). Extensions and trailers are checked and ignored."""

    def __init__(self, unreader: DeadlineUnreader) -> None:
        self.unreader = unreader
        self._buffer, self._position = b"", 0
        self._chunk_left = 0
        self._wire_bytes = self._body_bytes = 0
        self._started = self._ended = False

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, fewer only at the end. Raises `ChunkFramingInvalid` or `NoMoreData`."""
        data = bytearray()
        while len(data) < size and not self._ended:
            if not self._chunk_left:
                self._next_chunk()
                continue
            if self._position == len(self._buffer):
                self._fill()
            part = self._buffer[self._position : self._position + min(self._chunk_left, size - len(data))]
            self._position += len(part)
            self._chunk_left -= len(part)
            self._body_bytes += len(part)
            data += part
        return bytes(data)

    def _next_chunk(self) -> None:
        if self._started and self._read_line(2):
            raise ChunkFramingInvalid("a chunk is longer than its size says")
        self._started = True
        size = parse_chunk_size(self._read_line(CHUNK_LINE_BYTES))
        if size is None:
            raise ChunkFramingInvalid("a chunk has no size, or its extensions are malformed")
        self._chunk_left = size
        if not size:
            self._read_trailers()

    def _read_trailers(self) -> None:
        left = TRAILER_BYTES
        while line := self._read_line(left):
            left -= len(line)
            if not is_allowed_trailer(line):
                raise ChunkFramingInvalid("a trailer is malformed, or a field that must come before the body")
        self._ended = True
        # The rest belongs to the next request.
        self.unreader.unread(self._buffer[self._position :])

    def _read_line(self, limit: int) -> bytes:
        """The bytes up to the next CRLF."""
        while (end := self._buffer.find(b"\r\n", self._position, self._position + limit + 2)) < 0:
            if len(self._buffer) - self._position > limit + 1:
                raise ChunkFramingInvalid("a line between chunks has no end")
            self._fill()
        line = self._buffer[self._position : end]
        self._position = end + 2
        return line

    def _fill(self) -> None:
        if self._wire_bytes > FRAMING_RATIO * self._body_bytes + FRAMING_ALLOWANCE:
            raise ChunkFramingInvalid("it consists almost only of chunk framing")
        data = self.unreader.read()
        if not data:
            raise NoMoreData
        self._wire_bytes += len(data)
        self._buffer, self._position = self._buffer[self._position :] + data, 0
