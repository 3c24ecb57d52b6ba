"""Who may use the processor now: few slots, a short queue before them, and an honest "not now" beyond.

A queue without an end would only make everybody wait until nobody waits any longer. Under Gunicorn most
requests wait for a thread (serving/server/thread_pool.py) and find a slot at once; here wait those that let
others pass while their body came in.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from serving.api.errors import DeadlineExceeded, ServerBusy

# How much the newest request counts in the mean service time.
WEIGHT = 0.1
# Until something was measured: a photo takes about 10 ms.
FIRST_GUESS = 0.01


class Admission:
    """`slots` requests work, `queue` wait; `busy` and `waiting` tell how many there are of each."""

    def __init__(self, slots: int, queue: int) -> None:
        self.slots, self.queue = slots, queue
        self.busy = self.waiting = 0
        self._service_time = FIRST_GUESS
        self._lock = threading.Lock()
        # How many wait for a thread before they come here.
        self.line: Callable[[], int] = lambda: 0
        # Each is shut until its turn comes.
        self._turns: deque[threading.Lock] = deque()
        # When each slot that is held was taken, the first one first.
        self._held: dict[object, float] = {}

    @contextmanager
    def slot(self, deadline: float, allowed: float) -> Iterator[None]:
        """Waits for a slot and holds it. `deadline` is a monotonic moment, `allowed` what it was in seconds.

        Raises `ServerBusy` at once when the queue is full, `DeadlineExceeded` when the turn does not come.
        """
        self._enter(deadline, allowed)
        began, holder = time.monotonic(), object()
        self._held[holder] = began
        try:
            yield
        finally:
            del self._held[holder]
            self._leave(time.monotonic() - began)

    def held(self) -> list[float]:
        """For how many seconds each slot has been held that is held now."""
        now = time.monotonic()
        # A copy in one step: other threads come and go.
        return [now - began for began in list(self._held.values())]

    @property
    def depth(self) -> int:
        """How many requests wait, here or for a thread."""
        return self.waiting + self.line()

    def check(self, crowded: bool = False) -> None:
        """Raises `ServerBusy` if there is no place for a request. `crowded`: there was none when it came."""
        with self._lock:
            if crowded:
                raise ServerBusy(self.retry_after())
            self._refuse_if_full()

    def retry_after(self) -> int:
        """Whole seconds until a place is free, if all that wait take the mean service time."""
        return max(1, math.ceil((self.depth + 1) / self.slots * self._service_time))

    def _enter(self, deadline: float, allowed: float) -> None:
        with self._lock:
            if self.busy < self.slots:
                self.busy += 1
                return
            self._refuse_if_full()
            turn = threading.Lock()
            turn.acquire()
            self._turns.append(turn)
            self.waiting += 1
        # Whoever leaves hands the slot to the first in the queue, so nobody overtakes.
        came = turn.acquire(timeout=max(0.0, deadline - time.monotonic()))
        with self._lock:
            self.waiting -= 1
            if came or turn not in self._turns:
                return
            self._turns.remove(turn)
        raise DeadlineExceeded(allowed, self.retry_after())

    def _leave(self, seconds: float) -> None:
        with self._lock:
            self._service_time += WEIGHT * (seconds - self._service_time)
            if self._turns:
                self._turns.popleft().release()
            else:
                self.busy -= 1

    def _refuse_if_full(self) -> None:
        if self.busy >= self.slots and self.waiting >= self.queue:
            raise ServerBusy(self.retry_after())
