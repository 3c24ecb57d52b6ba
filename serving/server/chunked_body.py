"""Reads chunked request bodies within bounds.

Gunicorn's own reader searches all received data for the end of a line again with every piece. An endless
line, an endless trailer or a million tiny chunks each keep a core busy.
"""

from gunicorn.http.errors import NoMoreData

from serving.server.client_socket import DeadlineUnreader
from serving.server.request_validation import is_allowed_trailer, parse_chunk_size

# Limits of a chunk's size line with its extensions, and of all trailers together.
CHUNK_LINE_BYTES, TRAILER_BYTES = 1024, 8192
# Framing bytes allowed for each byte of body, and in addition: a chunk of one byte has five of them.
FRAMING_RATIO, FRAMING_ALLOWANCE = 4, 64 * 1024


class ChunkFramingInvalid(OSError):
    """A chunked body is not framed as HTTP/1.1 requires, or consists of little but framing."""


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
