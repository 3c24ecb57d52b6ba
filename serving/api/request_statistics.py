"""Request statistics of a model, which Triton's statistics extension serves (`/v2/models/<name>/stats`)."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from serving.api.request_context import RequestContext
from serving.workers.shared_folder import SharedFolder
from serving.workers.shared_numbers import SharedNumbers


@dataclass
class TotalTime:
    """How often something was done, and the nanoseconds that it took in all."""

    count: int = 0
    ns: int = 0


@dataclass
class StatisticsSnapshot:
    """Totals since the model was loaded; `last` is the time of the last success, milliseconds since 1970."""

    last: int = 0
    images: int = 0
    success: TotalTime = field(default_factory=TotalTime)
    fail: TotalTime = field(default_factory=TotalTime)
    queue: TotalTime = field(default_factory=TotalTime)
    decode: TotalTime = field(default_factory=TotalTime)
    inference: TotalTime = field(default_factory=TotalTime)


# Numbers of images, successes and failures, and seconds of success, failure, queue, decoding and inference.
_SIZE = 8


class RequestStatistics:
    """Collects the totals of one model over all workers; `name` is that of their files. Thread-safe."""

    def __init__(self, folder: SharedFolder, name: str) -> None:
        self._totals = SharedNumbers(folder, f"requests-{name}", _SIZE)
        self._last = SharedNumbers(folder, f"last-request-{name}", 1)

    @contextmanager
    def request(self, context: RequestContext) -> Iterator[None]:
        """Counts one request as a success, or as a failure if the block raises."""
        # The time includes the wait for a thread.
        began = time.perf_counter() - context.timing.waited
        try:
            yield
        # Also SystemExit, when the worker ends the thread: the request has failed for its client.
        except BaseException:
            self._totals.add((0, 0, 1, 0, time.perf_counter() - began, 0, 0, 0))
            raise
        seconds = time.perf_counter() - began
        self._totals.add(
            (len(context.images), 1, 0, seconds, 0, context.queue, context.decode, context.inference)
        )
        self._last.put((time.time(),))

    def read(self) -> StatisticsSnapshot:
        """The totals of all workers."""
        images, successes, failures, *seconds = self._totals.total()
        success, fail, queue, decode, inference = (round(1e9 * each) for each in seconds)
        answered = round(successes)
        return StatisticsSnapshot(
            last=round(1000 * max(row[0] for row in self._last.rows())),
            images=round(images),
            success=TotalTime(answered, success),
            fail=TotalTime(round(failures), fail),
            queue=TotalTime(answered, queue),
            decode=TotalTime(answered, decode),
            inference=TotalTime(answered, inference),
        )
