"""The context of one request: identifiers, timings and image facts, for its log line, headers and metrics."""

import random
import re
import time
from dataclasses import dataclass, field

from serving.server.client_socket import QueueTiming

# Accepted X-Request-Id values, which a proxy may set; any other value could inject text into the log.
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")

# W3C Trace Context, 3.2: version, trace, span and flags; future versions may append more.
TRACEPARENT = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]*)?"
)


@dataclass(frozen=True)
class ImageFacts:
    """What the log may hold of an image; nothing of its content."""

    format: str
    width: int
    height: int
    bytes: int


@dataclass
class RequestContext:
    """Times are in seconds. `code` is that of an error, `trace_id` the trace of the header `traceparent`."""

    request_id: str
    timing: QueueTiming
    queue: float = 0.0
    decode: float = 0.0
    inference: float = 0.0
    images: list[ImageFacts] = field(default_factory=list)
    code: str | None = None
    trace_id: str | None = None
    # Whether the answer came from the result cache; None if it was not asked.
    cache_hit: bool | None = None

    @classmethod
    def begin(
        cls, timing: QueueTiming, request_id: str | None = None, traceparent: str | None = None
    ) -> "RequestContext":
        """Uses the X-Request-Id and traceparent of the request if they are valid, else a new random id."""
        if not request_id or not REQUEST_ID.fullmatch(request_id):
            request_id = f"{random.getrandbits(64):016x}"
        return cls(request_id, timing, trace_id=_trace_id(traceparent) if traceparent else None)

    @property
    def seconds(self) -> float:
        """Seconds since the head of the request was received."""
        return time.monotonic() - self.timing.arrived

    def milliseconds(self) -> dict[str, float]:
        """Milliseconds spent in each phase."""
        phases = {"queue": self.queue, "decode": self.decode, "inference": self.inference}
        return {name: round(1000 * seconds, 3) for name, seconds in phases.items()}


def _trace_id(traceparent: str) -> str | None:
    found = TRACEPARENT.fullmatch(traceparent)
    return found[2] if found and (found[1] != "00" or not found[3]) else None
