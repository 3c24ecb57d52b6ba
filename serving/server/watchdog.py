"""Finds out that a request holds a slot for ever: the deadline ends no computation that has begun.

A thread cannot be ended from outside, so its process is. First the server says that it is not ready, and a
load balancer sends its requests elsewhere; then the worker is replaced.
"""

from collections.abc import Callable

# Deadlines after which the server is not ready, and after which its worker is replaced. An honest request may
# take one deadline and its last image.
UNREADY, REPLACED = 2, 3
# Seconds at the least for the second, whatever the deadline: a busy machine may stand still for a moment.
LEAST = 4.0


def patience(deadline: float) -> float:
    """Seconds after which a slot, or the event loop, counts as stuck."""
    return max(LEAST, REPLACED * deadline)


class Watchdog:
    """`held` tells for how many seconds each slot has been held that is held now."""

    def __init__(self, held: Callable[[], list[float]], deadline: float) -> None:
        self._held = held
        self._replaced = patience(deadline)
        self._unready = self._replaced * UNREADY / REPLACED

    @property
    def longest(self) -> float:
        """Seconds, for the slot that has been held for longest."""
        return max(self._held(), default=0.0)

    @property
    def unready(self) -> bool:
        """Shall nobody be sent here?"""
        return self.longest > self._unready

    @property
    def stuck(self) -> int:
        """How many slots are held by what will not end; with one of them the worker is replaced."""
        return sum(seconds > self._replaced for seconds in self._held())
