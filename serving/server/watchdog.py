"""Detects requests that hold a slot for ever: a deadline cannot end a computation that has begun.

A thread cannot be ended from outside, so its process is replaced. Before that /readyz fails, so that a load
balancer sends its requests elsewhere.
"""

from collections.abc import Callable

# How long a slot may be held, in deadlines, before the server is not ready and before its worker is replaced.
# A legitimate request may take one deadline and its last image.
UNREADY_DEADLINES, STUCK_DEADLINES = 2, 3
# Minimum of the second in seconds, whatever the deadline: a busy machine may pause for a moment.
MIN_STUCK_SECONDS = 4.0


def stuck_seconds(deadline: float) -> float:
    """Seconds after which a slot, or the event loop, counts as stuck."""
    return max(MIN_STUCK_SECONDS, STUCK_DEADLINES * deadline)


class Watchdog:
    """`held_seconds` returns for each slot in use how long it has been held.

    `longest_elsewhere` returns the longest such time in another worker.
    """

    def __init__(
        self,
        held_seconds: Callable[[], list[float]],
        deadline: float,
        longest_elsewhere: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._held_seconds, self._longest_elsewhere = held_seconds, longest_elsewhere
        self._stuck_after = stuck_seconds(deadline)
        self._unready_after = self._stuck_after * UNREADY_DEADLINES / STUCK_DEADLINES

    @property
    def longest_held(self) -> float:
        """Seconds that the longest held slot has been held."""
        return max(self._held_seconds(), default=0.0)

    @property
    def unready(self) -> bool:
        """Whether the server, all workers together, should report that it is not ready."""
        return max(self.longest_held, self._longest_elsewhere()) > self._unready_after

    @property
    def stuck_slots(self) -> int:
        """The number of slots held for ever. If there is one, the worker is replaced."""
        return sum(seconds > self._stuck_after for seconds in self._held_seconds())
