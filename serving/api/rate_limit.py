"""Rate limiting by client: sliding window counters in tables of fixed size, which all workers share.

The rate of a client is its count in the current period plus that of the previous one, weighted by the part of
it that the last full period still covers. A client has a place in the table until it has been idle for two
periods. When the table is full, clients that are not in it are counted together by network, and by wider
networks when there are too many of those. So no client's count is dropped early however many addresses an
attacker uses, and a flood from new addresses shares one count with its own network.

The tables are files in the folder that the workers share, mapped into memory. A worker that takes the place
of another one goes on with the counts.
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, chain

from serving.api.window_table import KEY_BYTES, PROBES, Place, WindowTable, table_bytes
from serving.rates import Rate
from serving.workers.shared_folder import SharedFolder
from serving.workers.shared_lock import SharedLock
from serving.workers.shared_memory import open_shared_memory

# Entries of each limit's tables: clients, and networks of each width. All others share one count.
MAX_CLIENTS, MAX_NETWORKS = 65_536, 4096
# From a client to the networks that contain it, narrowest first.
NetworksOf = Callable[[str], Iterable[str]]
# The name of those that have no place in any other table, in a table that cannot be full.
OTHERS, MAX_OTHERS = "", PROBES
LOCK_FILE = "limits.lock"


class ClientWindows:
    """The windows of one limit, by client. Not thread-safe.

    `name` is that of its file: limits of the same name share their counts, in all processes.
    """

    def __init__(
        self,
        limit: Rate,
        folder: SharedFolder,
        name: str,
        clients: int = MAX_CLIENTS,
        networks: int = MAX_NETWORKS,
    ) -> None:
        """Opens the file, or makes it; raises `OSError` if there is no room for it."""
        self.limit = limit
        sizes = [clients, networks, networks, MAX_OTHERS]
        *offsets, end = accumulate(map(table_bytes, sizes), initial=KEY_BYTES)
        memory = open_shared_memory(folder, f"limit-{name}", os.urandom(KEY_BYTES), end)
        self._hash_key = memory[:KEY_BYTES]
        # Clients, narrow networks, wide networks; and one window for all others.
        *self._tables, self._others = [
            WindowTable(memory, offset, size) for offset, size in zip(offsets, sizes, strict=False)
        ]

    def __len__(self) -> int:
        return sum(map(len, self._tables))

    def find(self, client: str, networks_of: NetworksOf, now: float) -> Place:
        """Where a client is counted now."""
        # Tables number periods from 2 on.
        period = int(now // self.limit.seconds) + 2
        named = zip(self._tables, chain((client,), networks_of(client)), strict=False)
        places = (
            table.find(self._hash(name), period) for table, name in chain(named, [(self._others, OTHERS)])
        )
        return next(filter(None, places))

    def _hash(self, name: str) -> bytes:
        return hashlib.blake2b(name.encode(), digest_size=KEY_BYTES, key=self._hash_key).digest()


class RateLimiter:
    """Counts requests against several limits at once, in all processes with the same folder. Thread-safe.

    `clock` has to show the same in all of them, as the system's monotonic clock does.
    """

    def __init__(self, folder: SharedFolder, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock, self._clock = SharedLock(folder / LOCK_FILE), clock

    def hit(
        self, limits: Sequence[ClientWindows], client: str, networks_of: NetworksOf = lambda _: ()
    ) -> float:
        """Counts a request if all limits allow it, and returns 0; otherwise the seconds until they do."""
        with self._lock.hold():
            now = self._clock()
            places = [each.find(client, networks_of, now) for each in limits]
            waits = [
                place.window.seconds_until_allowed(each.limit, now)
                for place, each in zip(places, limits, strict=True)
            ]
            wait = max(waits, default=0.0)
            if not wait:
                for place in places:
                    place.count_request()
            return wait
