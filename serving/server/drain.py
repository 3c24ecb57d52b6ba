"""The word that the server is about to stop: said by the master process on SIGTERM, heard by its worker."""

import mmap
import struct
import time

_FORMAT = "d"


class Drain:
    """A moment (monotonic seconds) that processes share which were forked after it was made."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, struct.calcsize(_FORMAT))

    def begin(self, seconds: float) -> None:
        """From now on the server is not ready, and after `seconds` it stops."""
        struct.pack_into(_FORMAT, self._memory, 0, time.monotonic() + seconds)

    @property
    def begun(self) -> bool:
        return self._end > 0

    @property
    def over(self) -> bool:
        return 0 < self._end <= time.monotonic()

    @property
    def _end(self) -> float:
        (end,) = struct.unpack_from(_FORMAT, self._memory)
        return float(end)
