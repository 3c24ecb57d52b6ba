"""Cross-origin resource sharing: whose pages a browser lets read the answers of this server.

Credentials are never allowed: keys come in headers, which a page sets itself, and there are no cookies.
"""

from collections.abc import Iterable
from typing import NamedTuple

from werkzeug.datastructures import Headers

ANYBODY = "*"
# What a page may send besides what every page may, and read besides what every page may.
SENT = (
    "Authorization",
    "Content-Encoding",
    "Content-Type",
    "Inference-Header-Content-Length",
    "X-API-Key",
    "X-Request-Id",
    "traceparent",
    "tracestate",
)
READ = (
    "Inference-Header-Content-Length",
    "Retry-After",
    "Server-Timing",
    "X-Model-Digest",
    "X-Model-Name",
    "X-Model-Version",
    "X-Request-Id",
)
METHODS = "GET, HEAD, POST"
# Seconds for which a browser need not ask again; Chromium keeps an answer no longer.
MAX_AGE = 7200


class Question(NamedTuple):
    """What CORS looks at in a request."""

    origin: str | None = None
    preflight: bool = False


class Cors:
    """The origins that are allowed; without any nothing is said."""

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(origins)
        self._read, self._sent = ", ".join(READ), ", ".join(SENT)

    @property
    def only(self) -> str | None:
        """The one origin that there can be, for answers to what was no request and named none."""
        return next(iter(self._origins)) if len(self._origins) == 1 else None

    def answer(self, headers: Headers, question: Question) -> None:
        """Adds to the headers of an answer, also of an error, what the browser has to know."""
        if not self._origins:
            return
        headers.set("Vary", ", ".join([*headers.getlist("Vary"), "Origin"]))
        if not (allowed := self._allowed(question.origin)):
            return
        headers.set("Access-Control-Allow-Origin", allowed)
        headers.set("Access-Control-Expose-Headers", self._read)
        if question.preflight:
            headers.set("Access-Control-Allow-Methods", METHODS)
            headers.set("Access-Control-Allow-Headers", self._sent)
            headers.set("Access-Control-Max-Age", str(MAX_AGE))

    def _allowed(self, origin: str | None) -> str | None:
        # A page without an origin of its own, such as a file or a sandboxed frame, could be anybody's.
        if origin == "null":
            return None
        if ANYBODY in self._origins:
            return ANYBODY
        return origin if origin in self._origins else None
