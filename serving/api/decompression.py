"""Decompresses request bodies while they are received, up to a size limit."""

import zlib
from collections.abc import Callable, Iterator
from functools import partial

from serving.api.errors import BodyTooLarge, EncodingMalformed, EncodingUnknown, RequestError

# The `wbits` of zlib for each Content-Encoding. HTTP's deflate is the zlib format (RFC 9110, 8.4.1.2).
WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
# Decompressed bytes that are produced at once.
PIECE = 256 * 1024


class Decompressor:
    """Decompresses one body part by part. The constructor raises `EncodingUnknown`.

    Other errors are raised only by `finish`, after the last part: the rest of the body has been read and
    discarded by then, so the connection can be used for another request.
    """

    def __init__(self, encoding: str, limit: int) -> None:
        self._encoding, self._limit = encoding.strip().lower(), limit
        self._size = 0
        # A function, not the error: an error object keeps the frame that raises it, and so the body, alive.
        self._error: Callable[[], RequestError] | None = None
        if self._encoding in ("", "identity"):
            self._stream = None
        elif self._encoding in WINDOW_BITS:
            self._stream = zlib.decompressobj(WINDOW_BITS[self._encoding])
        else:
            raise EncodingUnknown

    @property
    def compressed(self) -> bool:
        """Is the body compressed at all?"""
        return self._stream is not None

    def decompress(self, part: bytes) -> Iterator[bytes]:
        """The content of a part of the body, in pieces."""
        if self._stream is None:
            yield part
            return
        while not self._error:
            if self._stream.eof:
                if part:
                    self._error = self._malformed("something follows its end")
                return
            try:
                piece = self._stream.decompress(part, PIECE)
            except zlib.error:
                self._error = self._malformed("it is damaged")
                return
            part = self._stream.unconsumed_tail or self._stream.unused_data
            self._size += len(piece)
            if self._size > self._limit:
                self._error = partial(BodyTooLarge, self._limit)
                return
            yield piece
            # A full piece may leave output inside zlib although all input is consumed.
            if not part and len(piece) < PIECE:
                return

    def finish(self) -> None:
        """Raises `BodyTooLarge` or `EncodingMalformed` if the body was invalid."""
        if self._stream is not None and not self._error and not self._stream.eof:
            self._error = self._malformed("it breaks off")
        if self._error:
            raise self._error()

    def _malformed(self, reason: str) -> Callable[[], RequestError]:
        return partial(EncodingMalformed, self._encoding, reason)
