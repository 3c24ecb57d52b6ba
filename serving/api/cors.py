"""Cross-origin resource sharing: the origins whose pages may read this server's responses in a browser.

Credentials are never allowed: API keys are sent in headers that the page itself sets; there are no cookies.
"""

from collections.abc import Iterable
from typing import NamedTuple

from werkzeug.datastructures import Headers

ANY_ORIGIN = "*"
# Headers that a page may send and read beyond those that CORS always allows.
REQUEST_HEADERS = (
    "Authorization",
    "Content-Encoding",
    "Content-Type",
    "Inference-Header-Content-Length",
    "X-API-Key",
    "X-Request-Id",
    "traceparent",
    "tracestate",
)
RESPONSE_HEADERS = (
    "Inference-Header-Content-Length",
    "Retry-After",
    "Server-Timing",
    "X-Model-Digest",
    "X-Model-Name",
    "X-Model-Version",
    "X-Request-Id",
    "traceresponse",
)
METHODS = "GET, HEAD, POST"
# Seconds for which a browser may cache a preflight response; Chromium's upper limit.
MAX_AGE = 7200


class CorsRequest(NamedTuple):
    """The parts of a request that CORS depends on."""

    origin: str | None = None
    preflight: bool = False


class Cors:
    """Adds CORS headers for the allowed origins; without any origin it adds none."""

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(origins)
        self._exposed, self._accepted = ", ".join(RESPONSE_HEADERS), ", ".join(REQUEST_HEADERS)

    @property
    def single_origin(self) -> str | None:
        """The allowed origin if there is exactly one: for errors sent before an Origin header was parsed."""
        return next(iter(self._origins)) if len(self._origins) == 1 else None

    def add_headers(self, headers: Headers, request: CorsRequest) -> None:
        """Adds the CORS headers to those of a response or an error."""
        if not self._origins:
            return
        headers.set("Vary", ", ".join([*headers.getlist("Vary"), "Origin"]))
        if not (allowed := self._allowed(request.origin)):
            return
        headers.set("Access-Control-Allow-Origin", allowed)
        headers.set("Access-Control-Expose-Headers", self._exposed)
        if request.preflight:
            headers.set("Access-Control-Allow-Methods", METHODS)
            headers.set("Access-Control-Allow-Headers", self._accepted)
            headers.set("Access-Control-Max-Age", str(MAX_AGE))

    def _allowed(self, origin: str | None) -> str | None:
        # Local files and sandboxed frames send "null": their true origin is unknown.
        if origin == "null":
            return None
        if ANY_ORIGIN in self._origins:
            return ANY_ORIGIN
        return origin if origin in self._origins else None
