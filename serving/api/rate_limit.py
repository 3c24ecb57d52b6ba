"""How often each client may ask: sliding windows over a bounded number of clients.

A window's count and that of the one before it, weighted by how much of it the last period still covers, say
how much was asked. A client costs 160 bytes until it has not asked for two periods. When there are too many
of them, those that are not known yet are counted together by their network, and by wider ones when there are
too many networks. So nobody's count is forgotten early, however many addresses an attacker has, and a flood
of new addresses shares one count with its own neighbours.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, islice

from serving.rates import Rate

# Clients that each limit counts one by one, and networks of either width. Beyond that all share one count.
CLIENTS, NETWORKS = 65_536, 4096

# The networks in which a client is, narrow ones first.
Wider = Callable[[str], Iterable[str]]


class Window:
    """What was asked in the period `index`, and in the one before."""

    __slots__ = ("before", "count", "index")

    def __init__(self) -> None:
        self.index = self.count = self.before = 0

    def move(self, index: int) -> None:
        """Goes on to a period, maybe the same one."""
        if index != self.index:
            self.before = self.count if index == self.index + 1 else 0
            self.index, self.count = index, 0

    def wait(self, limit: Rate, now: float) -> float:
        """Seconds until one more request is within the limit; 0 if it is now."""
        left, ahead = limit.seconds - now % limit.seconds, limit.amount - self.count
        if ahead <= 0:
            return left
        # Of the period before, as much counts as the last `seconds` still cover.
        return max(0.0, left - ahead * limit.seconds / self.before) if self.before > ahead else 0.0


class Counts:
    """The windows of one limit by client. Not for several threads at once."""

    def __init__(self, limit: Rate, clients: int = CLIENTS, networks: int = NETWORKS) -> None:
        self.limit = limit
        # Clients, their networks, and so on; of each table the one that asked least recently comes first.
        self._tables: list[tuple[OrderedDict[str, Window], int]] = [
            (OrderedDict(), size) for size in (clients, networks, networks)
        ]
        self._rest = Window()

    def __len__(self) -> int:
        return sum(len(table) for table, _ in self._tables)

    def find(self, client: str, wider: Wider, now: float) -> Window:
        """The window in which a client is counted now."""
        index = int(now // self.limit.seconds)
        window = self._find(chain((client,), wider(client)), index)
        window.move(index)
        return window

    def _find(self, names: Iterable[str], index: int) -> Window:
        for (table, size), name in zip(self._tables, names, strict=False):
            if window := table.get(name):
                table.move_to_end(name)
                return window
            # Those that no longer matter go, one more than comes.
            for old, window in list(islice(table.items(), 2)):
                if window.index + 1 < index:
                    del table[old]
            if len(table) < size:
                return table.setdefault(name, Window())
        return self._rest


class RateLimiter:
    """Counts requests against several limits at once."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock, self._clock = threading.Lock(), clock

    def hit(self, counts: Sequence[Counts], client: str, wider: Wider = lambda _: ()) -> float:
        """Counts a request if all limits allow it. Otherwise: in how many seconds will they?"""
        with self._lock:
            now = self._clock()
            windows = [each.find(client, wider, now) for each in counts]
            waits = [window.wait(each.limit, now) for window, each in zip(windows, counts, strict=True)]
            wait = max(waits, default=0.0)
            if not wait:
                for window in windows:
                    window.count += 1
            return wait
