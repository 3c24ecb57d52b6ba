"""Bodies that a client has compressed, unpacked as they come and never beyond a limit."""

import zlib
from collections.abc import Callable, Iterator
from functools import partial

from serving.api.errors import BodyTooLarge, EncodingMalformed, EncodingUnknown, RequestError

# What zlib calls the two wrappers: gzip's own, and the one of zlib, which HTTP calls deflate.
WRAPPERS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
# Unpacked at once.
PIECE = 256 * 1024


class Inflater:
    """One body, of whose parts `unpack` makes what was compressed. Raises `EncodingUnknown` at once.

    What is wrong with it `finish` raises, after the last part: the rest was read and thrown away meanwhile,
    so that the connection stays good for another request.
    """

    def __init__(self, encoding: str, limit: int) -> None:
        self._encoding, self._limit = encoding.strip().lower(), limit
        self._size = 0
        # No error itself: it would hold on to the frame that raises it, and so to the body, for long.
        self._wrong: Callable[[], RequestError] | None = None
        if self._encoding in ("", "identity"):
            self._stream = None
        elif self._encoding in WRAPPERS:
            self._stream = zlib.decompressobj(WRAPPERS[self._encoding])
        else:
            raise EncodingUnknown

    @property
    def packed(self) -> bool:
        """Is there anything to unpack?"""
        return self._stream is not None

    def unpack(self, part: bytes) -> Iterator[bytes]:
        """What a part of the body holds, in pieces."""
        if self._stream is None:
            yield part
            return
        while not self._wrong:
            if self._stream.eof:
                if part:
                    self._wrong = self._malformed("something follows its end")
                return
            try:
                piece = self._stream.decompress(part, PIECE)
            except zlib.error:
                self._wrong = self._malformed("it is damaged")
                return
            part = self._stream.unconsumed_tail or self._stream.unused_data
            self._size += len(piece)
            if self._size > self._limit:
                self._wrong = partial(BodyTooLarge, self._limit)
                return
            yield piece
            # A full piece may not be all that these bytes stood for.
            if not part and len(piece) < PIECE:
                return

    def finish(self) -> None:
        """Raises `BodyTooLarge` or `EncodingMalformed` if that is what the body was."""
        if self._stream is not None and not self._wrong and not self._stream.eof:
            self._wrong = self._malformed("it breaks off")
        if self._wrong:
            raise self._wrong()

    def _malformed(self, reason: str) -> Callable[[], RequestError]:
        return partial(EncodingMalformed, self._encoding, reason)
