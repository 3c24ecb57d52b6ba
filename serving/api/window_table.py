"""Sliding windows by client, in memory that several processes share.

A hash table with open addressing: a client's window is in its home slot, which follows from its hash, or in
one of the next `PROBES - 1` slots. The hash has a secret key, so nobody can choose clients that compete for
the same slots. A slot is free again when its window no longer counts, which is two periods after the one in
which it was written last. So nothing has to be cleaned up.

The caller holds a lock. If its process is killed while it writes, the table stays usable: every number is
written by one store of eight bytes, and the number of the period, which makes a slot used, comes last. Lost
are at most the request itself and what its client had sent in the previous period. The number of used slots
can be one too large, or too small, until two periods later; if it is too small, more clients than `capacity`
may get a slot, but never more than there are slots.
"""

import mmap
from typing import NamedTuple

from serving.api.sliding_window import SlidingWindow

# Of a hash. Two clients with equal hashes would be counted together: 128 bits make that improbable.
KEY_BYTES = 16
# Slots in which one client's window may be: the bound of a search. At most half of all slots are used, so
# these hardly ever are: in 20 simulations with 65,536 clients each, none was further than 37 slots from home.
PROBES = 128
# A window: the count before, the count, the number of the period; eight bytes each.
CELLS = 3
WINDOW_BYTES = 8 * CELLS
# Where the table has, as a window, the number of slots used in this period, and only in the one before.
USED = -1


class Place(NamedTuple):
    """The slot of a client, and its window in the current period.

    `period` is that of the window when it was found; 0 if the slot was free.
    """

    table: "WindowTable"
    slot: int
    key: bytes
    period: int
    window: SlidingWindow

    def count_request(self) -> None:
        """Counts a request in the current period."""
        self.window.count += 1
        self.table.store(self)


class WindowTable:
    """At most `capacity` windows, from `offset` on. Not thread-safe.

    Periods have numbers from 2 on: in new memory all windows are of the period 0, which is over.
    """

    def __init__(self, memory: mmap.mmap, offset: int, capacity: int) -> None:
        self._memory, self._capacity, self._homes = memory, capacity, _home_slots(capacity)
        self._windows = offset + WINDOW_BYTES
        self._keys = self._windows + WINDOW_BYTES * _slots(capacity)
        self._cells = memoryview(memory)[offset : self._keys].cast("q")

    def __len__(self) -> int:
        return _sum(self._read(USED))

    def find(self, key: bytes, period: int) -> Place | None:
        """Where the client with a hash is counted; None if it has no slot and the table is full."""
        home = int.from_bytes(key[:8], "little") % self._homes
        slot = self._find_key(key, home)
        if slot is not None:
            window = self._read(slot)
            last = window.index
            if last + 1 >= period:
                window.advance(period)
                return Place(self, slot, key, last, window)
        used = self._read(USED)
        used.advance(period)
        if _sum(used) >= self._capacity:
            return None
        if slot is None:
            slot = self._find_free(home, period)
        return None if slot is None else Place(self, slot, key, 0, SlidingWindow(index=period))

    def store(self, place: Place) -> None:
        """Writes the window of a place."""
        if not place.period:
            start = self._keys + KEY_BYTES * place.slot
            self._memory[start : start + KEY_BYTES] = place.key
        self._write(place.slot, place.window)
        if place.period != place.window.index:
            self._count_slot(place)

    def _count_slot(self, place: Place) -> None:
        """Counts a slot that is used for the first time in this period."""
        used = self._read(USED)
        used.advance(place.window.index)
        used.count += 1
        if place.period:
            used.before -= 1
        self._write(USED, used)

    def _find_key(self, key: bytes, home: int) -> int | None:
        start = self._keys + KEY_BYTES * home
        # A match that begins within a key is as improbable as two equal hashes.
        found = self._memory[start : start + KEY_BYTES * PROBES].find(key)
        return None if found < 0 else home + found // KEY_BYTES

    def _find_free(self, home: int, period: int) -> int | None:
        start = self._windows + WINDOW_BYTES * home
        cells = memoryview(self._memory[start : start + WINDOW_BYTES * PROBES]).cast("q")
        periods = cells[CELLS - 1 :: CELLS].tolist()
        return next((slot for slot, last in enumerate(periods, home) if last + 1 < period), None)

    def _read(self, slot: int) -> SlidingWindow:
        cell = CELLS * (slot + 1)
        return SlidingWindow(*self._cells[cell : cell + CELLS])

    def _write(self, slot: int, window: SlidingWindow) -> None:
        cell = CELLS * (slot + 1)
        for number in (window.before, window.count, window.index):
            self._cells[cell] = number
            cell += 1


def _sum(used: SlidingWindow) -> int:
    return used.before + used.count


def _home_slots(capacity: int) -> int:
    return 2 * capacity + 1


def _slots(capacity: int) -> int:
    return _home_slots(capacity) + PROBES - 1


def table_bytes(capacity: int) -> int:
    """The memory that a table takes."""
    return WINDOW_BYTES * (1 + _slots(capacity)) + KEY_BYTES * _slots(capacity)
