"""Rate limiting by client: sliding window counters in a table of bounded size.

The rate of a client is its count in the current period plus that of the previous one, weighted by the part of
it that the last full period still covers. A client costs 160 bytes until it has been idle for two periods.
When the table is full, clients that are not in it are counted together by network, and by wider networks
when there are too many of those. So no client's count is dropped early however many addresses an attacker
uses, and a flood from new addresses shares one count with its own network.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, islice

from serving.rates import Rate

# Entries of each limit's tables: clients, and networks of each width. All others share one count.
MAX_CLIENTS, MAX_NETWORKS = 65_536, 4096

# From a client to the networks that contain it, narrowest first.
NetworksOf = Callable[[str], Iterable[str]]


class SlidingWindow:
    """Requests in the period with the number `index`, and in the period before it."""

    __slots__ = ("before", "count", "index")

    def __init__(self) -> None:
        self.index = self.count = self.before = 0

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


class ClientWindows:
    """The windows of one limit, by client. Not thread-safe."""

    def __init__(self, limit: Rate, clients: int = MAX_CLIENTS, networks: int = MAX_NETWORKS) -> None:
        self.limit = limit
        # Tables with their sizes: clients, narrow networks, wide networks; each least recently used first.
        self._tables: list[tuple[OrderedDict[str, SlidingWindow], int]] = [
            (OrderedDict(), size) for size in (clients, networks, networks)
        ]
        self._shared = SlidingWindow()

    def __len__(self) -> int:
        return sum(len(table) for table, _ in self._tables)

    def find(self, client: str, networks_of: NetworksOf, now: float) -> SlidingWindow:
        """The window in which a client is counted now."""
        index = int(now // self.limit.seconds)
        window = self._find(chain((client,), networks_of(client)), index)
        window.advance(index)
        return window

    def _find(self, names: Iterable[str], index: int) -> SlidingWindow:
        for (table, size), name in zip(self._tables, names, strict=False):
            if window := table.get(name):
                table.move_to_end(name)
                return window
            # Removes up to two expired entries for each new one, so cleaning up never takes long.
            for old, window in list(islice(table.items(), 2)):
                if window.index + 1 < index:
                    del table[old]
            if len(table) < size:
                return table.setdefault(name, SlidingWindow())
        return self._shared


class RateLimiter:
    """Counts requests against several limits at once. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock, self._clock = threading.Lock(), clock

    def hit(
        self, limits: Sequence[ClientWindows], client: str, networks_of: NetworksOf = lambda _: ()
    ) -> float:
        """Counts a request if all limits allow it, and returns 0; otherwise the seconds until they do."""
        with self._lock:
            now = self._clock()
            windows = [each.find(client, networks_of, now) for each in limits]
            waits = [
                window.seconds_until_allowed(each.limit, now)
                for window, each in zip(windows, limits, strict=True)
            ]
            wait = max(waits, default=0.0)
            if not wait:
                for window in windows:
                    window.count += 1
            return wait
