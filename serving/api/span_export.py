"""Sends a span of each request to an OpenTelemetry collector: OTLP over HTTP, in batches, in the background.

Imported only if an endpoint is set (serving/config.py); no other module imports OpenTelemetry. Names follow
its semantic conventions for HTTP servers. A span holds no more than the log line, except the path: no address
of a client, no header, nothing of an image. Spans that do not fit into the queue are dropped.

The library reads its own variables: OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER,
OTEL_EXPORTER_OTLP_HEADERS, OTEL_BSP_MAX_QUEUE_SIZE and the like.
"""

import logging
import threading
import time
from typing import Self

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanKind,
    StatusCode,
    TraceFlags,
    Tracer,
    format_span_id,
    format_trace_id,
    set_span_in_context,
)
from opentelemetry.trace import SpanContext as LibrarySpanContext

# The exporter imports it when it is made. Here it is for the master process, so that the workers share it.
from requests import Session  # noqa: F401

from serving.api.request_context import RequestContext
from serving.api.trace_context import RANDOM, SAMPLED, SpanContext
from serving.artifact.pin import Pin
from serving.config import SettingsInvalid
from serving.log import LOG

SERVICE = "goldfish"
# The library reports every batch that it cannot send. It may get so many seconds between two log lines.
QUIET_SECONDS = 60.0
NANOSECONDS = 1_000_000_000


class FailureLog(logging.Handler):
    """Logs what the library reports, seldom enough that requests' lines are not dropped for it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._reports, self._quiet_until = 0, 0.0

    def emit(self, record: logging.LogRecord) -> None:
        """Logs the first report, and then one a minute with the number of those so far."""
        self._reports += 1
        if time.monotonic() < self._quiet_until:
            return
        self._quiet_until = time.monotonic() + QUIET_SECONDS
        fields = {
            "code": "span_export_failed",
            "reason": record.getMessage(),
            "reports": self._reports,
        }
        LOG.warning("failure of the span export", extra={"fields": fields})


class SpanExport:
    """Makes spans in one worker. `begin` and `end` do not block and do not raise."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer: Tracer = provider.get_tracer(SERVICE)

    @classmethod
    def start(cls, url: str, batch: int) -> Self:
        """Starts the thread that sends `batch` spans at once; called after the fork.

        Raises `SettingsInvalid`.
        """
        library = logging.getLogger("opentelemetry")
        library.handlers, library.propagate = [FailureLog()], False
        provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        try:
            processor = BatchSpanProcessor(OTLPSpanExporter(url), max_export_batch_size=batch)
        except (ValueError, RuntimeError) as error:
            raise SettingsInvalid([f"a variable OTEL_ is invalid: {str(error).rstrip('.')}"]) from None
        provider.add_span_processor(processor)
        return cls(provider)

    def begin(
        self, context: RequestContext, method: str, scheme: str, route: str | None, path: str | None
    ) -> Span:
        """Begins the span of a request, below the client's if it sent one, and sets `context.span`.

        `route` and `path` are None where no route matches, since the path may be any text then.
        """
        known = method != "other"
        attributes = {"http.request.method": method if known else "_OTHER", "url.scheme": scheme}
        if route and path:
            attributes |= {"http.route": route, "url.path": path}
        span = self._tracer.start_span(
            " ".join(filter(None, (method if known else "HTTP", route))),
            _parent(context.parent),
            SpanKind.SERVER,
            attributes,
            start_time=time.time_ns() - time.monotonic_ns() + _nanoseconds(context.timing.arrived),
        )
        own = span.get_span_context()
        flags = own.trace_flags & (SAMPLED | RANDOM)
        context.span = SpanContext(format_trace_id(own.trace_id), format_span_id(own.span_id), flags)
        context.steps = [] if span.is_recording() else None
        return span

    def end(self, span: Span, context: RequestContext, pin: Pin, status: int) -> None:
        """Ends it, and adds a span for each step."""
        if not isinstance(span, ReadableSpan) or span.start_time is None:
            return
        span.set_attributes(
            {
                "http.response.status_code": status,
                "goldfish.request.id": context.request_id,
                "goldfish.images": len(context.images),
                "goldfish.model.name": pin.name,
                "goldfish.model.version": pin.version,
                "goldfish.model.digest": pin.digest,
            }
        )
        if context.code:
            span.set_attribute("goldfish.error.code", context.code)
        # By the conventions a client's error is none of the server's.
        if status >= 500:
            span.set_attribute("error.type", context.code or str(status))
            span.set_status(StatusCode.ERROR)
        shift = span.start_time - _nanoseconds(context.timing.arrived)
        below = set_span_in_context(span, Context())
        for step in context.steps or ():
            end = shift + _nanoseconds(step.end)
            child = self._tracer.start_span(step.name, below, start_time=end - _nanoseconds(step.seconds))
            child.end(end)
        span.end(shift + time.monotonic_ns())

    def stop(self, seconds: float) -> None:
        """Sends the last spans, and waits for that at most so many seconds."""
        # The library itself would wait for a collector that hangs for half a minute.
        thread = threading.Thread(target=self._provider.shutdown, daemon=True)
        thread.start()
        thread.join(seconds)


def _resource() -> Resource:
    """This worker, as OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES name it."""
    found = Resource.create()
    is_named = not str(found.attributes[SERVICE_NAME]).startswith("unknown_service")
    return found if is_named else found.merge(Resource({SERVICE_NAME: SERVICE}))


def _parent(parent: SpanContext | None) -> Context:
    if parent is None:
        return Context()
    remote = LibrarySpanContext(
        int(parent.trace_id, 16),
        int(parent.span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(parent.flags & (SAMPLED | RANDOM)),
    )
    return set_span_in_context(NonRecordingSpan(remote), Context())


def _nanoseconds(seconds: float) -> int:
    return int(seconds * NANOSECONDS)
