"""W3C Trace Context: reads the request header `traceparent` and writes the response header `traceresponse`.

`traceparent` is a Recommendation (https://www.w3.org/TR/trace-context/), `traceresponse` is in the editors'
draft of the next level and has the same form. A header that is invalid, or sent twice, counts as not sent.
"""

import random
import re
from typing import NamedTuple, Self

# Version, trace, span and flags. Versions after 00 may append more; version ff and ids of zeros are invalid.
# No comma, with which several headers are joined.
TRACEPARENT = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-[!-+\--~]*)?"
)
# Flags: the span is recorded; the trace id is random. All others are reserved and sent as zeros.
SAMPLED, RANDOM = 1, 2


class SpanContext(NamedTuple):
    """The identity of a span: 32 and 16 hexadecimal digits, and the flags of the trace."""

    trace_id: str
    span_id: str
    flags: int = 0

    def child(self) -> Self:
        """A new span below this one that is not recorded."""
        return self._replace(span_id=f"{random.getrandbits(64) or 1:016x}", flags=self.flags & RANDOM)

    @property
    def traceresponse(self) -> str:
        """The value of the header of that name."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags & (SAMPLED | RANDOM):02x}"


def parse_traceparent(text: str) -> SpanContext | None:
    """The client's span; None if the header is invalid."""
    found = TRACEPARENT.fullmatch(text)
    if not found or (found[1] == "00" and found[5]):
        return None
    return SpanContext(found[2], found[3], int(found[4], 16))
