"""A table in memory in which each worker says what it is doing, and which all of them read.

Each number is written by one process at a time, in one aligned store of eight bytes. So nobody needs a lock,
and a worker that is killed leaves nothing locked.
"""

import mmap
import time
from typing import NamedTuple

# Rows: workers that run, and those that replace them while they finish their requests.
ROWS = 512
# After this many seconds without news, a worker's numbers are not relied on: it may be stuck.
FRESH_SECONDS = 1.0


class WorkerLoad(NamedTuple):
    """What a worker is doing: requests that hold a slot, requests that wait, bytes of bodies, connections.

    `held_ms` is how long the longest held slot has been held, in milliseconds. `lines_dropped` are lines of
    the log that could not be written since the worker started.
    """

    busy: int = 0
    waiting: int = 0
    body_bytes: int = 0
    connections: int = 0
    held_ms: int = 0
    lines_dropped: int = 0


_PID, _TIME, _LOAD = 0, 1, 2
_WIDTH = _LOAD + len(WorkerLoad._fields)


class WorkerTable:
    """Shared by the processes that are forked after it was made. Workers have numbers from 0."""

    def __init__(self) -> None:
        # The number of workers that should run, the number of rows in use, and the rows. Zero at first.
        self._cells = memoryview(mmap.mmap(-1, 8 * (2 + ROWS * _WIDTH))).cast("q")

    @property
    def wanted(self) -> int:
        """The number of workers that should run; 0 before that was decided."""
        return self._cells[0]

    @wanted.setter
    def wanted(self, workers: int) -> None:
        self._cells[0] = workers

    def enter(self, worker: int, pid: int) -> None:
        """Called when a worker has started."""
        self._cells[1] = max(self._cells[1], worker + 1)
        self._cells[_row(worker) + _PID] = pid

    def leave(self, pid: int) -> None:
        """Called when a worker has ended, or accepts no more requests."""
        for worker in self.live():
            if self._cells[_row(worker)] == pid:
                start = _row(worker)
                for cell in range(start, start + _WIDTH):
                    self._cells[cell] = 0

    def free_number(self) -> int:
        """The lowest number that no worker has."""
        return next(worker for worker in range(ROWS) if not self._cells[_row(worker) + _PID])

    def live(self) -> list[int]:
        """The numbers of the workers that run."""
        return [worker for worker in range(self._cells[1]) if self._cells[_row(worker) + _PID]]

    def pids(self) -> list[int]:
        """The process ids of the workers that run."""
        return [self._cells[_row(worker) + _PID] for worker in self.live()]

    def publish(self, worker: int, load: WorkerLoad) -> None:
        """Replaces what a worker says of itself."""
        start = _row(worker)
        for offset, number in enumerate(load, _LOAD):
            self._cells[start + offset] = number
        self._cells[start + _TIME] = time.monotonic_ns()

    def others(self, worker: int) -> list[WorkerLoad]:
        """What the other workers have said of themselves lately."""
        oldest = time.monotonic_ns() - int(1e9 * FRESH_SECONDS)
        starts = [_row(other) for other in self.live() if other != worker]
        return [
            WorkerLoad(*self._cells[start + _LOAD : start + _WIDTH])
            for start in starts
            if self._cells[start + _TIME] > oldest
        ]


def _row(worker: int) -> int:
    return 2 + worker * _WIDTH
