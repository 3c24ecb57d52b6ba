"""A client's socket that does not block, and a reader of request bodies with a deadline for every byte."""

import select
import socket
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from gunicorn.http.errors import NoMoreData
from gunicorn.http.unreader import SocketUnreader

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


class DeadlinePassed(NoMoreData):  # type: ignore[misc]
    """The deadline of a request passed before its body was complete."""


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
