"""The context of one request: identifiers, timings and image facts, for its log line, headers and metrics."""

import random
import re
import time
from dataclasses import dataclass, field
from typing import NamedTuple

from serving.api.client_connection import Environ, queue_timing
from serving.api.trace_context import SpanContext, parse_traceparent
from serving.server.client_socket import QueueTiming

# Accepted X-Request-Id values, which a proxy may set; any other value could inject text into the log.
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")


@dataclass(frozen=True)
class ImageFacts:
    """What the log may hold of an image; nothing of its content."""

    format: str
    width: int
    height: int
    bytes: int


class Step(NamedTuple):
    """One step of a request, with its end (monotonic) and duration in seconds."""

    name: str
    end: float
    seconds: float


@dataclass
class RequestContext:
    """Times are in seconds. `code` is that of an error.

    `parent` is the client's span, from the header `traceparent`; `span` is this server's, None without one.
    """

    request_id: str
    timing: QueueTiming
    queue: float = 0.0
    decode: float = 0.0
    inference: float = 0.0
    images: list[ImageFacts] = field(default_factory=list)
    code: str | None = None
    parent: SpanContext | None = None
    span: SpanContext | None = None
    # Every step, if the span is recorded.
    steps: list[Step] | None = None
    # Whether the answer came from the result cache; None if it was not asked.
    cache_hit: bool | None = None

    @classmethod
    def begin(
        cls, timing: QueueTiming, request_id: str | None = None, traceparent: str | None = None
    ) -> "RequestContext":
        """Uses the X-Request-Id and traceparent of the request if they are valid, else a new random id."""
        if not request_id or not REQUEST_ID.fullmatch(request_id):
            request_id = f"{random.getrandbits(64):016x}"
        parent = parse_traceparent(traceparent) if traceparent else None
        return cls(request_id, timing, parent=parent, span=parent.child() if parent else None)

    @classmethod
    def of_request(cls, environ: Environ) -> "RequestContext":
        """Begins that of a request, from its WSGI environment."""
        request_id, traceparent = environ.get("HTTP_X_REQUEST_ID"), environ.get("HTTP_TRACEPARENT")
        return cls.begin(queue_timing(environ), request_id, traceparent)

    @property
    def trace_fields(self) -> dict[str, str]:
        """The trace, this server's span and the client's, as far as there are any, for log lines."""
        if not self.span:
            return {}
        fields = {"trace_id": self.span.trace_id, "span_id": self.span.span_id}
        return fields | {"parent_span_id": self.parent.span_id} if self.parent else fields

    def record_step(self, name: str, seconds: float) -> None:
        """Keeps a step that ends now, if the span is recorded."""
        if self.steps is not None:
            self.steps.append(Step(name, time.monotonic(), seconds))

    @property
    def seconds(self) -> float:
        """Seconds since the head of the request was received."""
        return time.monotonic() - self.timing.arrived

    def milliseconds(self) -> dict[str, float]:
        """Milliseconds spent in each phase."""
        phases = {"queue": self.queue, "decode": self.decode, "inference": self.inference}
        return {name: round(1000 * seconds, 3) for name, seconds in phases.items()}
