"""Reads request bodies within limits of size and time, and within the body budget.

Every body is read here. Werkzeug does not distinguish a complete body from one that was cut off, by its limit
or by the client. Gunicorn announces keep-alive, and then closes the connection if much of the body is unread.
"""

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial

from serving.api.body_budget import BodyBudget, Upload
from serving.api.client_connection import Environ, body_stream, body_unreader, content_length
from serving.api.decompression import Decompressor
from serving.api.errors import BodyIncomplete, BodyMalformed, BodyTooLarge, BodyTooSlow
from serving.config import Settings
from serving.server.chunked_body import ChunkFramingInvalid
from serving.server.client_socket import READ_BYTES, DeadlinePassed
from serving.server.thread_pool import acquire_yielding_slot, yield_slot

# If a response is sent before the body was read, the rest is read and discarded, so that the connection can
# be kept; but only up to so many bytes and seconds, and for so many requests at once. Otherwise it is closed.
DISCARD_BYTES, DISCARD_SECONDS, MAX_DISCARDING = 2**20, 1.0, 8
# Bodies that are decompressed at once: a small compressed body can take much processor time.
MAX_DECOMPRESSING = 2
# Seconds. A client's share of the bandwidth grows when others finish, so longer pauses are cut into several.
LONGEST_PAUSE = 0.25
# Entries of the WSGI environment: the body was read to its end; reading it failed.
COMPLETE, FAILED = "goldfish.body_done", "goldfish.body_failed"


class BufferedBody:
    """A body in memory, which counts against the budget until `BodyReader.read` ends."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def take(self) -> bytes:
        """Hands over the bytes without keeping a reference, so the caller can free them."""
        data, self._data = self._data, b""
        return data


class BodyReader:
    """Reads all bodies of a server, within one budget."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._budget = BodyBudget(settings.uploads, settings.body_budget_bytes)
        self._discarding = threading.BoundedSemaphore(MAX_DISCARDING)
        self._decompressing = threading.BoundedSemaphore(MAX_DECOMPRESSING)

    @property
    def budget_bytes(self) -> int:
        """Bytes of all bodies that may be in memory."""
        return self._budget.memory

    def take_share(self, workers: int) -> None:
        """Limits the budget to one of several workers' share, which is large enough for one body."""
        settings, total = self._settings, self._settings.body_budget_bytes
        memory = max(total // workers, min(total, settings.max_body_bytes))
        self._budget = BodyBudget(max(1, settings.uploads // workers), memory)

    @property
    def held_bytes(self) -> int:
        """Bytes of all bodies in memory."""
        return self._budget.held

    @contextmanager
    def read(self, environ: Environ, client: str) -> Iterator[BufferedBody]:
        """Receives the whole body and decompresses it; it counts against the budget until the block ends.

        Raises `BodyTooLarge`, `BodyIncomplete`, `BodyMalformed`, `BodyTooSlow`, `EncodingUnknown` or
        `EncodingMalformed`, and `ServerBusy` if the budget is used up.
        """
        decompressor = Decompressor(environ.get("HTTP_CONTENT_ENCODING", ""), self._settings.max_body_bytes)
        unreader = body_unreader(environ)
        deadline = unreader.deadline if unreader else math.inf
        # One buffer that grows: thousands of small pieces would fragment the heap.
        received = bytearray()
        with self._budget.upload(client, content_length(environ), deadline) as upload:
            if unreader:
                unreader.before_wait = partial(self._budget.acquire_slot, upload)
            for part in self._parts(environ):
                self._throttle(upload, len(part))
                with acquire_yielding_slot(self._decompressing) if decompressor.compressed else nullcontext():
                    for piece in decompressor.decompress(part):
                        self._budget.hold(upload, len(piece))
                        received += piece
            decompressor.finish()
            self._budget.finish(upload)
            body = BufferedBody(bytes(received))
            received.clear()
            yield body

    def discard_rest(self, environ: Environ) -> bool:
        """Reads and drops what is left of a body; returns whether the connection can be used again."""
        declared = content_length(environ)
        if declared == 0 or environ.get(COMPLETE):
            return True
        if declared is None or declared > DISCARD_BYTES or environ.get(FAILED):
            return False
        unreader = body_unreader(environ)
        # A client that sent `Expect: 100-continue` may or may not send the body after this response.
        if unreader and unreader.expects_continue:
            return False
        # Health checks have threads of their own, which must not block on a client.
        if environ["REQUEST_METHOD"] in ("GET", "HEAD") or not self._discarding.acquire(blocking=False):
            return False
        try:
            if unreader:
                unreader.deadline = min(unreader.deadline, time.monotonic() + DISCARD_SECONDS)
            for _ in self._parts(environ):
                pass
        except (BodyIncomplete, BodyTooSlow):
            return False
        finally:
            self._discarding.release()
        return True

    def _parts(self, environ: Environ) -> Iterator[bytes]:
        """The body as it is received. Sets `COMPLETE` or `FAILED` in the environment."""
        limit, declared = self._settings.max_body_bytes, content_length(environ)
        environ[FAILED] = True
        if declared is not None and declared > limit:
            raise BodyTooLarge(limit)
        stream, unreader = body_stream(environ), body_unreader(environ)
        received, began = 0, time.monotonic()
        while declared is None or received < declared:
            try:
                part = stream.read(READ_BYTES)
            except DeadlinePassed:
                total = unreader.received if unreader else received
                raise BodyTooSlow(total, round(time.monotonic() - began, 1)) from None
            except ChunkFramingInvalid as error:
                raise BodyMalformed(str(error)) from None
            except OSError:
                raise BodyIncomplete(received) from None
            if not part:
                break
            received += len(part)
            if received > limit:
                raise BodyTooLarge(limit)
            yield part
        if declared is not None and received != declared:
            raise BodyIncomplete(received)
        environ[COMPLETE], environ[FAILED] = True, False

    def _throttle(self, upload: Upload, size: int) -> None:
        """Sleeps if the client has sent more than its share of the bandwidth."""
        if (pause := self._budget.pause(upload, size)) > 0:
            self._budget.acquire_slot(upload, upload.received)
            with yield_slot():
                time.sleep(min(pause, LONGEST_PAUSE))
