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
    headers.extend(headers_of_request(pin, context))
    service.cors.add_headers(headers, cors_request)


def headers_of_request(pin: Pin, context: RequestContext) -> list[tuple[str, str]]:
    """Which model answers which request, and how long that took."""
    headers = [
        ("X-Model-Name", pin.name),
        ("X-Model-Version", str(pin.version)),
        ("X-Model-Digest", pin.digest),
        ("X-Request-Id", context.request_id),
    ]
    if context.span:
        headers.append(("traceresponse", context.span.traceresponse))
    if context.cache_hit is not None:
        headers.append(("X-Cache", "HIT" if context.cache_hit else "MISS"))
    if context.images:
        timing = [f"{name};dur={value}" for name, value in context.milliseconds().items()]
        headers.append(("Server-Timing", ", ".join(timing)))
    return headers
