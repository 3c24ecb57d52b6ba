"""The headers of every response: security, model identity, request id, trace, CORS and timing."""

from flask import Response

from serving.api.cors import CorsRequest
from serving.api.request_context import RequestContext
from serving.api.service import Service
from serving.artifact.pin import Pin

# Pages load scripts, styles and data from this server only and cannot be framed; blob: is for image previews.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(self), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
    # Some paths return a page to browsers and JSON to programs.
    "Vary": "Accept",
}


def add_response_headers(
    response: Response, service: Service, pin: Pin, context: RequestContext, cors_request: CorsRequest
) -> None:
    """Adds the headers to a response. A header that the route has set already is kept."""
    headers = response.headers
    # Collected once: each lookup in `headers` is a linear search.
    present = {name.lower() for name in headers.keys()}  # noqa: SIM118  (they are no dictionary)
    headers.extend(item for item in HEADERS.items() if item[0].lower() not in present)
    headers.add("X-Model-Name", pin.name)
    headers.add("X-Model-Version", str(pin.version))
    headers.add("X-Model-Digest", pin.digest)
    headers.add("X-Request-Id", context.request_id)
    if context.span:
        headers.add("traceresponse", context.span.traceresponse)
    if context.cache_hit is not None:
        headers.add("X-Cache", "HIT" if context.cache_hit else "MISS")
    service.cors.add_headers(headers, cors_request)
    if context.images:
        timing = (f"{name};dur={value}" for name, value in context.milliseconds().items())
        headers.add("Server-Timing", ", ".join(timing))
