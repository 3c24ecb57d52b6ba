"""The line of a request in the log, and its metrics."""

from serving.api.metrics import Metrics
from serving.api.request_context import RequestContext
from serving.artifact.pin import Pin
from serving.log import log_request


def log_and_count(
    metrics: Metrics,
    pin: Pin,
    context: RequestContext,
    method: str,
    route: str,
    status: int,
    key: str | None = None,
) -> None:
    """Logs and counts a request. `key` is the name of the API key that it was sent with."""
    metrics.count_request(route, status, context.seconds, context.code)
    fields = {
        "request_id": context.request_id,
        "method": method,
        "route": route,
        "status": status,
        "code": context.code,
        "ms": {"total": round(1000 * context.seconds, 3), **context.milliseconds()},
        "images": [vars(facts) for facts in context.images],
        "model": pin.name,
        "digest": pin.digest,
    }
    fields |= context.trace_fields
    if key:
        fields["key"] = key
        metrics.count_key_request(key, status)
    log_request(fields)
