"""Admission control: a limited number of slots for inference and a short queue of requests for them.

Beyond the queue a request gets 503 with `Retry-After` at once: in an unbounded queue every request would wait
until its client has given up. Under Gunicorn most requests are queued for a thread (see
serving/server/thread_pool.py) and then find a free slot; only those whose thread served other requests while
their body arrived wait here.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from serving.api.errors import DeadlineExceeded, ServerBusy

# Weight of the newest request in the moving average of the service time.
SMOOTHING = 0.1
# Seconds, before anything was measured: a photo takes about 10 ms.
INITIAL_SERVICE_TIME = 0.01


class AdmissionControl:
    """Lets `slots` requests run at once and `queue` more wait; `busy` and `waiting` count them."""

    def __init__(self, slots: int, queue: int) -> None:
        self.slots, self.queue = slots, queue
        self.busy = self.waiting = 0
        self._service_time = INITIAL_SERVICE_TIME
        self._lock = threading.Lock()
        # Number of requests that are queued for a thread, before they get here. Set by the worker.
        self.queued_for_thread: Callable[[], int] = lambda: 0
        # One lock for each waiting request, in order of arrival; releasing it hands over a slot.
        self._waiters: deque[threading.Lock] = deque()
        # When each busy slot was acquired, oldest first.
        self._acquired_at: dict[object, float] = {}

    @contextmanager
    def slot(self, deadline: float, allowed: float) -> Iterator[None]:
        """Waits for a slot until `deadline` (monotonic) and holds it; `allowed` (seconds) is for the error.

        Raises `ServerBusy` at once if the queue is full, `DeadlineExceeded` if no slot is free in time.
        """
        self._acquire(deadline, allowed)
        began, holder = time.monotonic(), object()
        self._acquired_at[holder] = began
        try:
            yield
        finally:
            del self._acquired_at[holder]
            self._release(time.monotonic() - began)

    def held_seconds(self) -> list[float]:
        """For each busy slot, the seconds since it was acquired."""
        now = time.monotonic()
        # list() copies atomically, while other threads add and remove entries.
        return [now - began for began in list(self._acquired_at.values())]

    @property
    def queue_length(self) -> int:
        """Number of requests that wait for a slot or for a thread."""
        return self.waiting + self.queued_for_thread()

    @property
    def is_idle(self) -> bool:
        """Is a slot free that no request waits for?"""
        return self.busy < self.slots and not self.queue_length

    def check_capacity(self, queue_was_full: bool = False) -> None:
        """Raises `ServerBusy` if the queue is full, or was full when the request arrived."""
        with self._lock:
            if queue_was_full:
                raise ServerBusy(self.retry_after())
            self._check_queue()

    def retry_after(self) -> int:
        """Whole seconds until a slot is free, if every waiting request takes the mean service time."""
        return max(1, math.ceil((self.queue_length + 1) / self.slots * self._service_time))

    def _acquire(self, deadline: float, allowed: float) -> None:
        with self._lock:
            if self.busy < self.slots:
                self.busy += 1
                return
            self._check_queue()
            waiter = threading.Lock()
            waiter.acquire()
            self._waiters.append(waiter)
            self.waiting += 1
        # `_release` hands its slot directly to the first waiter, so a later request cannot overtake it.
        acquired = waiter.acquire(timeout=max(0.0, deadline - time.monotonic()))
        with self._lock:
            self.waiting -= 1
            # A waiter that is no longer queued was given a slot just after its timeout.
            if acquired or waiter not in self._waiters:
                return
            self._waiters.remove(waiter)
        raise DeadlineExceeded(allowed, self.retry_after())

    def _release(self, seconds: float) -> None:
        with self._lock:
            self._service_time += SMOOTHING * (seconds - self._service_time)
            if self._waiters:
                self._waiters.popleft().release()
            else:
                self.busy -= 1

    def _check_queue(self) -> None:
        if self.busy >= self.slots and self.waiting >= self.queue:
            raise ServerBusy(self.retry_after())
