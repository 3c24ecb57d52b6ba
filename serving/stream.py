"""What comes from a client: every byte of it until a deadline, and a body in chunks within bounds.

Gunicorn's own reader of chunks looks for the end of a line in all that has come, and begins anew with every
piece: an endless line, an endless trailer or a million tiny chunks each keep a core busy.
"""

import socket
import time

from gunicorn.http.errors import NoMoreData
from gunicorn.http.unreader import SocketUnreader

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


class PatientUnreader(SocketUnreader):  # type: ignore[misc]
    """Reads from a socket until a moment that has been set, not until a client falls silent."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock, PIECE)
        self.deadline = float("inf")

    def chunk(self) -> bytes:
        """What the client has sent, or `TooSlow`."""
        remaining = self.deadline - time.monotonic()
        if remaining <= 0:
            raise TooSlow
        self.sock.settimeout(remaining)
        try:
            data: bytes = super().chunk()
        except TimeoutError:
            raise TooSlow from None
        finally:
            self.sock.settimeout(SEND_SECONDS)
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
