"""How often the worker was started: counted in memory that the processes share, so the count outlives it."""

import mmap
import struct

# Each number is written by one process at a time: the master, and its only worker.
_STARTS, _STUCK = 0, 8


class Restarts:
    """Counters that processes share which were forked after they were made."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 16)

    def started(self) -> None:
        """Counts a worker; called by the master."""
        self._add(_STARTS)

    def found_stuck(self) -> None:
        """Counts a worker that is replaced because a request holds a slot; called by that worker."""
        self._add(_STUCK)

    @property
    def count(self) -> int:
        """How many workers took the place of another one."""
        return max(0, self._read(_STARTS) - 1)

    @property
    def stuck(self) -> int:
        """How many were replaced because a request held a slot for too long."""
        return self._read(_STUCK)

    def _add(self, offset: int) -> None:
        struct.pack_into("Q", self._memory, offset, self._read(offset) + 1)

    def _read(self, offset: int) -> int:
        (number,) = struct.unpack_from("Q", self._memory, offset)
        return int(number)
