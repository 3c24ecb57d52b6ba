"""What becomes known of one request on its way: for its log line, its headers and the metrics."""

import random
import re
import time
from dataclasses import dataclass, field

from serving.stream import Turn

# What a proxy in front may have called the request; anything else could be an attack on the log.
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")


@dataclass(frozen=True)
class ImageFacts:
    """What may be told of an image without telling what it shows."""

    format: str
    width: int
    height: int
    bytes: int


@dataclass
class Trace:
    """Times are in seconds. `code` is that of an error."""

    request_id: str
    turn: Turn
    queue: float = 0.0
    decode: float = 0.0
    inference: float = 0.0
    images: list[ImageFacts] = field(default_factory=list)
    code: str | None = None

    @classmethod
    def begin(cls, given_id: str | None, turn: Turn) -> "Trace":
        """Takes over the id that a request came with, if it is one."""
        if not given_id or not REQUEST_ID.fullmatch(given_id):
            given_id = f"{random.getrandbits(64):016x}"
        return cls(given_id, turn)

    @property
    def seconds(self) -> float:
        """Since the head of the request had come."""
        return time.monotonic() - self.turn.came

    def milliseconds(self) -> dict[str, float]:
        """The times of the parts."""
        parts = {"queue": self.queue, "decode": self.decode, "inference": self.inference}
        return {name: round(1000 * seconds, 3) for name, seconds in parts.items()}
