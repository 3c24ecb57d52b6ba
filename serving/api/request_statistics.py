"""Request statistics of a model, which Triton's statistics extension serves (`/v2/models/<name>/stats`)."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field

from serving.api.request_context import RequestContext


@dataclass
class TotalTime:
    """How often something was done, and the nanoseconds that it took in all."""

    count: int = 0
    ns: int = 0

    def add(self, seconds: float) -> None:
        """Counts once more."""
        self.count += 1
        self.ns += round(1e9 * seconds)


@dataclass
class StatisticsSnapshot:
    """Totals since the server started; `last` is the time of the last success, milliseconds since 1970."""

    last: int = 0
    images: int = 0
    success: TotalTime = field(default_factory=TotalTime)
    fail: TotalTime = field(default_factory=TotalTime)
    queue: TotalTime = field(default_factory=TotalTime)
    decode: TotalTime = field(default_factory=TotalTime)
    inference: TotalTime = field(default_factory=TotalTime)


class RequestStatistics:
    """Collects the totals of one model. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._totals = StatisticsSnapshot()

    @contextmanager
    def request(self, context: RequestContext) -> Iterator[None]:
        """Counts one request as a success, or as a failure if the block raises."""
        # The time includes the wait for a thread.
        began = time.perf_counter() - context.timing.waited
        try:
            yield
        # Also SystemExit, when the worker ends the thread: the request has failed for its client.
        except BaseException:
            with self._lock:
                self._totals.fail.add(time.perf_counter() - began)
            raise
        with self._lock:
            totals = self._totals
            totals.last = time.time_ns() // 10**6
            totals.images += len(context.images)
            totals.success.add(time.perf_counter() - began)
            totals.queue.add(context.queue)
            totals.decode.add(context.decode)
            totals.inference.add(context.inference)

    def read(self) -> StatisticsSnapshot:
        """A copy of the totals."""
        with self._lock:
            return deepcopy(self._totals)
