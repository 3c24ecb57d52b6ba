"""What becomes known of one request on its way: for its log line, its headers and the metrics."""

import random
import re
import time
from dataclasses import dataclass, field

from serving.server.client_socket import QueueTiming

# What a proxy in front may have called the request; anything else could be an attack on the log.
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")

# W3C Trace Context, 3.2: version, trace, span and flags; of versions to come perhaps more.
TRACEPARENT = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]*)?"
)


@dataclass(frozen=True)
class ImageFacts:
    """What may be told of an image without telling what it shows."""

    format: str
    width: int
    height: int
    bytes: int


@dataclass
class Trace:
    """Times are in seconds. `code` is that of an error, `trace_id` the id of `traceparent`."""

    request_id: str
    turn: QueueTiming
    queue: float = 0.0
    decode: float = 0.0
    inference: float = 0.0
    images: list[ImageFacts] = field(default_factory=list)
    code: str | None = None
    trace_id: str | None = None

    @classmethod
    def begin(cls, turn: QueueTiming, given_id: str | None = None, parent: str | None = None) -> "Trace":
        """Takes over the id that a request came with, and that of `traceparent`, where they are such."""
        if not given_id or not REQUEST_ID.fullmatch(given_id):
            given_id = f"{random.getrandbits(64):016x}"
        return cls(given_id, turn, trace_id=_trace_id(parent) if parent else None)

    @property
    def seconds(self) -> float:
        """Since the head of the request had come."""
        return time.monotonic() - self.turn.arrived

    def milliseconds(self) -> dict[str, float]:
        """The times of the parts."""
        parts = {"queue": self.queue, "decode": self.decode, "inference": self.inference}
        return {name: round(1000 * seconds, 3) for name, seconds in parts.items()}


def _trace_id(parent: str) -> str | None:
    found = TRACEPARENT.fullmatch(parent)
    return found[2] if found and (found[1] != "00" or not found[3]) else None
