"""Counts events in memory that the master shares with its workers, so the counts outlive a worker."""

import mmap
import struct

# Offsets. The second number is written by workers, of which two at once may count as one; the others by the
# master.
_REPLACED, _STUCK, _RELOADS = 0, 8, 16


class RestartCounter:
    """Counters shared by all processes that are forked after it was made."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 24)

    def count_replacement(self) -> None:
        """Counts the start of a worker in place of another one; called by the master."""
        self._increment(_REPLACED)

    def count_stuck(self) -> None:
        """Counts a worker that ends because a request holds a slot for ever; called by that worker."""
        self._increment(_STUCK)

    def count_reload(self) -> None:
        """Counts a SIGHUP; called by the master."""
        self._increment(_RELOADS)

    @property
    def reloads(self) -> int:
        """The number of times that the operator has asked to look after changed pins at once."""
        return self._read(_RELOADS)

    @property
    def count(self) -> int:
        """The number of workers that replaced another one."""
        return self._read(_REPLACED)

    @property
    def stuck(self) -> int:
        """The number of workers that were replaced because a request held a slot for ever."""
        return self._read(_STUCK)

    def _increment(self, offset: int) -> None:
        struct.pack_into("Q", self._memory, offset, self._read(offset) + 1)

    def _read(self, offset: int) -> int:
        (number,) = struct.unpack_from("Q", self._memory, offset)
        return int(number)
