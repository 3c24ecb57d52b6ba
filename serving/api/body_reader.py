"""Reading the body of a request within bounds of size, of time, and of what all bodies together may hold.

Werkzeug's own ways to read take a body for whole that was cut at the limit or by the client, and Gunicorn
promises to keep a connection that it then closes if much of a body is left. So all bodies pass through here.
"""

import math
import select
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

from serving.api.body_budget import BodyBudget, Upload
from serving.api.decompression import Inflater
from serving.api.errors import BodyIncomplete, BodyMalformed, BodyTooLarge, BodyTooSlow
from serving.config import Settings
from serving.server.client_socket import (
    READ_BYTES,
    ChunkFramingInvalid,
    ClientSocket,
    DeadlinePassed,
    DeadlineUnreader,
    QueueTiming,
)
from serving.server.thread_pool import acquire_yielding_slot, yield_slot

Environ = dict[str, Any]

# What an early answer has left of a body is read and forgotten if it is no more than this, comes within so
# many seconds, and not too many clients want that at once. Otherwise the connection is closed.
DRAIN_BYTES, DRAIN_SECONDS, DRAINS = 2**20, 1.0, 8
# How many compressed bodies are unpacked at once: a little of one may stand for much work.
UNPACKERS = 2
# Seconds; a pause may end early because others have gone.
LONGEST_PAUSE = 0.25
# Where a request notes that its body was read to the end, or that it never will be.
DONE, FAILED = "goldfish.body_done", "goldfish.body_failed"


class Held:
    """A body that counts as held until it is released; `take` hands it over."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def take(self) -> bytes:
        """The bytes, which are not kept here as well."""
        data, self._data = self._data, b""
        return data


class Bodies:
    """Reads bodies, within the budget that they share."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._budget = BodyBudget(settings.uploads, settings.body_budget_bytes)
        self._drains = threading.BoundedSemaphore(DRAINS)
        self._unpackers = threading.BoundedSemaphore(UNPACKERS)

    @property
    def held(self) -> int:
        """Bytes of all bodies that are kept now."""
        return self._budget.held

    @contextmanager
    def read(self, environ: Environ, client: str) -> Iterator[Held]:
        """The whole body, unpacked if it is compressed, which counts as held until the block ends.

        Raises `BodyTooLarge`, `BodyIncomplete`, `BodyMalformed`, `BodyTooSlow`, `EncodingUnknown` or
        `EncodingMalformed`, and `ServerBusy` if there is no place.
        """
        inflater = Inflater(environ.get("HTTP_CONTENT_ENCODING", ""), self._settings.max_body_bytes)
        unreader, declared = _unreader(environ), _declared(environ)
        deadline = unreader.deadline if unreader else math.inf
        # One block that grows, because thousands of small ones would leave holes in the memory.
        received = bytearray()
        with self._budget.upload(client, declared, deadline) as upload:
            if unreader:
                unreader.before_wait = partial(self._budget.wait, upload)
            for part in self._parts(environ):
                self._pause(upload, len(part))
                with acquire_yielding_slot(self._unpackers) if inflater.packed else nullcontext():
                    for piece in inflater.unpack(part):
                        self._budget.hold(upload, len(piece))
                        received += piece
            inflater.finish()
            self._budget.finish(upload)
            held = Held(bytes(received))
            received.clear()
            yield held

    def drain(self, environ: Environ) -> bool:
        """Reads what an early answer has left of a body. Is the connection good for another request?"""
        declared = _declared(environ)
        if declared == 0 or environ.get(DONE):
            return True
        if declared is None or declared > DRAIN_BYTES or environ.get(FAILED):
            return False
        unreader = _unreader(environ)
        # Whoever waits for a word before the body does not send it now, or does; nobody can tell.
        if unreader and unreader.expects_continue:
            return False
        # A health check has threads of its own, which nobody shall keep.
        if environ["REQUEST_METHOD"] in ("GET", "HEAD") or not self._drains.acquire(blocking=False):
            return False
        try:
            if unreader:
                unreader.deadline = min(unreader.deadline, time.monotonic() + DRAIN_SECONDS)
            for _ in self._parts(environ):
                pass
        except (BodyIncomplete, BodyTooSlow):
            return False
        finally:
            self._drains.release()
        return True

    def _parts(self, environ: Environ) -> Iterator[bytes]:
        limit, declared = self._settings.max_body_bytes, _declared(environ)
        environ[FAILED] = True
        if declared is not None and declared > limit:
            raise BodyTooLarge(limit)
        received, stream, unreader, began = 0, _stream(environ), _unreader(environ), time.monotonic()
        while declared is None or received < declared:
            try:
                part = stream.read(READ_BYTES)
            except DeadlinePassed:
                came = unreader.received if unreader else received
                raise BodyTooSlow(came, round(time.monotonic() - began, 1)) from None
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
        environ[DONE], environ[FAILED] = True, False

    def _pause(self, upload: Upload, size: int) -> None:
        """Leaves what comes next to the others, if a client has sent more than its share."""
        if (pause := self._budget.pause(upload, size)) > 0:
            self._budget.wait(upload, upload.received)
            with yield_slot():
                time.sleep(min(pause, LONGEST_PAUSE))


def gone(environ: Environ) -> bool:
    """Has the client closed its connection? Nobody would read an answer."""
    sock = environ.get("gunicorn.socket")
    if sock is None:
        return False
    watch = select.poll()
    # Only Linux tells it before something is written; others notice broken connections alone.
    watch.register(sock, getattr(select, "POLLRDHUP", 0))
    return bool(watch.poll(0))


def turn(environ: Environ) -> QueueTiming:
    """When the request had come, and how it was received."""
    sock = environ.get("gunicorn.socket")
    return sock.timing if isinstance(sock, ClientSocket) else QueueTiming(time.monotonic())


def _stream(environ: Environ) -> Any:  # noqa: ANN401  (something with `read`)
    """The body's bytes. Gunicorn's file goes through them by the kilobyte; its reader beneath does not."""
    file = environ["wsgi.input"]
    return getattr(file, "reader", file)


def _unreader(environ: Environ) -> DeadlineUnreader | None:
    """What the body's bytes are read by, where this server's worker does it."""
    unreader = getattr(_stream(environ), "unreader", None)
    return unreader if isinstance(unreader, DeadlineUnreader) else None


def _declared(environ: Environ) -> int | None:
    """Content-Length, which Gunicorn has found to be a number; None where the body comes in chunks."""
    if environ.get("HTTP_TRANSFER_ENCODING"):
        return None
    return int(environ.get("CONTENT_LENGTH") or 0)
