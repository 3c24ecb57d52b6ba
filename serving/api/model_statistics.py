"""How often a model was asked and how long that took, for the protocol that lets clients read it."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field

from serving.api.request_context import Trace


@dataclass
class Spent:
    """How often something was done, and the nanoseconds that it took in all."""

    count: int = 0
    ns: int = 0

    def add(self, seconds: float) -> None:
        """Once more."""
        self.count += 1
        self.ns += round(1e9 * seconds)


@dataclass
class Figures:
    """Since the server started; `last` is when a request was answered, milliseconds since 1970."""

    last: int = 0
    images: int = 0
    success: Spent = field(default_factory=Spent)
    fail: Spent = field(default_factory=Spent)
    queue: Spent = field(default_factory=Spent)
    decode: Spent = field(default_factory=Spent)
    inference: Spent = field(default_factory=Spent)


class Tally:
    """The figures of one model; requests of several threads add to them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._figures = Figures()

    @contextmanager
    def request(self, trace: Trace) -> Iterator[None]:
        """Counts one request, whatever becomes of it."""
        # Waiting for a thread is part of it.
        began = time.perf_counter() - trace.turn.waited
        try:
            yield
        # A thread that is being ended has failed its client like any other; it is counted and goes on.
        except BaseException:
            with self._lock:
                self._figures.fail.add(time.perf_counter() - began)
            raise
        with self._lock:
            figures = self._figures
            figures.last = time.time_ns() // 10**6
            figures.images += len(trace.images)
            figures.success.add(time.perf_counter() - began)
            figures.queue.add(trace.queue)
            figures.decode.add(trace.decode)
            figures.inference.add(trace.inference)

    def read(self) -> Figures:
        """The figures as they are now."""
        with self._lock:
            return deepcopy(self._figures)
