"""Reading the body of a request within bounds of size, of time, and of what all bodies together may hold.

Werkzeug's own ways to read take a body for whole that was cut at the limit or by the client, and Gunicorn
promises to keep a connection that it then closes if much of a body is left. So all bodies pass through here.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gunicorn.http.errors import ParseException

from serving.api.admission import Admission
from serving.api.errors import BodyIncomplete, BodyTooLarge, BodyTooSlow, ServerBusy
from serving.config import Settings

CHUNK = 64 * 1024

Environ = dict[str, Any]


class Bodies:
    """All bodies that the server holds, and the doors through which they come in."""

    def __init__(self, settings: Settings, admission: Admission) -> None:
        self._settings, self._admission = settings, admission
        self._doors = threading.BoundedSemaphore(settings.uploads)
        self._lock = threading.Lock()
        self.held = 0

    @contextmanager
    def read(self, environ: Environ) -> Iterator[bytes]:
        """The whole body, which counts as held until the block ends.

        Raises `BodyTooLarge`, `BodyIncomplete` or `BodyTooSlow`, and `ServerBusy` if there is no place.
        """
        size = 0
        # One block that grows, because thousands of small ones would leave holes in the memory.
        received = bytearray()
        try:
            with self._door():
                for part in self._parts(environ):
                    self._hold(len(part))
                    size += len(part)
                    received += part
            body = bytes(received)
            received.clear()
            yield body
        finally:
            self._hold(-size)

    def drain(self, environ: Environ) -> bool:
        """Reads what an early answer has left of a body, and forgets it. Is the connection good for more?"""
        if not _has_body(environ) or environ.get(_DONE):
            return True
        # A health check has threads of its own, and nobody shall keep them; nor wait for a door here.
        if environ["REQUEST_METHOD"] in ("GET", "HEAD") or environ.get(_FAILED):
            return False
        try:
            with self._door():
                for _ in self._parts(environ):
                    pass
        except (BodyTooLarge, BodyIncomplete, BodyTooSlow, ServerBusy):
            return False
        return True

    def _parts(self, environ: Environ) -> Iterator[bytes]:
        limit, declared = self._settings.max_body, _declared(environ)
        environ[_FAILED] = True
        if declared is not None and declared > limit:
            raise BodyTooLarge(limit)
        received, began, stream = 0, time.monotonic(), _stream(environ)
        while declared is None or received < declared:
            try:
                part = stream.read(CHUNK)
            # Of the socket or of the chunks' frames: in either case there will be no more.
            except (OSError, ParseException):
                part = b""
                declared = declared if declared is not None else received + 1
            if not part:
                break
            received += len(part)
            if received > limit:
                raise BodyTooLarge(limit)
            yield part
        if declared is not None and received != declared:
            seconds = self._settings.body_seconds
            # The thread's own clock starts a moment after the one that ended the wait.
            slow = time.monotonic() - began > 0.9 * seconds
            raise BodyTooSlow(received, seconds) if slow else BodyIncomplete(received)
        environ[_DONE], environ[_FAILED] = True, False

    def _hold(self, size: int) -> None:
        with self._lock:
            if size > 0 and self.held + size > self._settings.bodies:
                raise ServerBusy(self._admission.retry_after())
            self.held += size

    @contextmanager
    def _door(self) -> Iterator[None]:
        if not self._doors.acquire(blocking=False):
            raise ServerBusy(self._admission.retry_after())
        try:
            yield
        finally:
            self._doors.release()


# Where a request notes that its body was read to the end, or that it never will be.
_DONE, _FAILED = "goldfish.body_done", "goldfish.body_failed"


def _stream(environ: Environ) -> Any:  # noqa: ANN401  (something with `read`)
    """The body's bytes. Gunicorn's file goes through them by the kilobyte; its reader beneath does not."""
    file = environ["wsgi.input"]
    return getattr(file, "reader", file)


def _has_body(environ: Environ) -> bool:
    return bool(_declared(environ) or environ.get("HTTP_TRANSFER_ENCODING"))


def _declared(environ: Environ) -> int | None:
    """Content-Length, which Gunicorn has found to be a number; None where the body comes in chunks."""
    if environ.get("HTTP_TRANSFER_ENCODING"):
        return None
    return int(environ.get("CONTENT_LENGTH") or 0)
