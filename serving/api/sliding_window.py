"""Sliding window counters: the rate is the count of this period and a part of that of the previous one."""

from serving.rates import Rate


class SlidingWindow:
    """Requests in the period with the number `index`, and in the period before it."""

    __slots__ = ("before", "count", "index")

    def __init__(self, before: int = 0, count: int = 0, index: int = 0) -> None:
        self.before, self.count, self.index = before, count, index

    def advance(self, index: int) -> None:
        """Moves to a period, which may be the current one."""
        if index != self.index:
            self.before = self.count if index == self.index + 1 else 0
            self.index, self.count = index, 0

    def seconds_until_allowed(self, limit: Rate, now: float) -> float:
        """Seconds until one more request is within the limit; 0 if it is now."""
        left, remaining = limit.seconds - now % limit.seconds, limit.amount - self.count
        if remaining <= 0:
            return left
        # The previous period counts by the part of it that the last `limit.seconds` still cover.
        return max(0.0, left - remaining * limit.seconds / self.before) if self.before > remaining else 0.0
