"""The drain window: set by the master process on SIGTERM, read by its worker through shared memory."""

import mmap
import struct
import time

_FORMAT = "d"


class Drain:
    """The end of the drain window (monotonic seconds), shared by processes forked after it was made."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, struct.calcsize(_FORMAT))

    def begin(self, seconds: float) -> None:
        """Makes the server not ready now, and lets it stop after `seconds`."""
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
