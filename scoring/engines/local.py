"""Scores on this machine: one process for each core, because one interpreter cannot keep many cores busy."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import islice
from typing import TypeVar

import pyarrow as pa

from scoring.engines.job import Job
from scoring.errors import WorkersFailed
from scoring.plan import Chunk
from scoring.rows import to_table
from scoring.scorer import Scorer

Result = TypeVar("Result")
# Chunks that wait for each worker, so that none is idle while results are written.
WAITING = 2

# Of this process, if it is a worker.
_scorer: Scorer | None = None


def score(
    job: Job, chunks: Iterable[Chunk], workers: int, alone: bool = False
) -> Iterator[tuple[Chunk, pa.Table]]:
    """Yields chunks with their rows, in the order in which they are ready.

    Chunks that were in work when a worker was killed are left out. With `alone` only one chunk is in work, so
    that no other one is left out with the one that kills. Raises `WorkersFailed`.
    """
    left = iter(chunks)
    workers, ahead = (1, 1) if alone else (workers, workers * (1 + WAITING))
    while batch := list(islice(left, 1)):
        with _pool(job, workers) as pool:
            try:
                yield from _score(pool, batch, left, ahead)
            except BrokenProcessPool:
                continue


def _score(
    pool: ProcessPoolExecutor, first: list[Chunk], left: Iterator[Chunk], ahead: int
) -> Iterator[tuple[Chunk, pa.Table]]:
    """The same until a worker is killed, which raises `BrokenProcessPool`."""
    waiting = deque(first)
    running: dict[Future[pa.Table], Chunk] = {}
    while True:
        waiting.extend(islice(left, ahead - len(running) - len(waiting)))
        while waiting:
            chunk = waiting.popleft()
            running[_submit(pool, partial(_score_chunk, chunk))] = chunk
        if not running:
            return
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            yield running.pop(future), future.result()


def _pool(job: Job, workers: int) -> ProcessPoolExecutor:
    """Worker processes that have loaded the model. Raises `WorkersFailed`."""
    # Spawned, because threads of the libraries that are loaded here do not survive a fork.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, _start_worker, (job,))
    try:
        # The pool starts a process for each task that none waits for: all load the model at the same time.
        started = [_submit(pool, os.getpid) for _ in range(workers)]
        started[0].result()
    except BrokenProcessPool as error:
        raise WorkersFailed(str(error)) from None
    return pool


def _submit(pool: ProcessPoolExecutor, task: Callable[[], Result]) -> Future[Result]:
    """Submits a task, for which the pool may start a process.

    Ctrl-C reaches all processes of a terminal. It waits until the process is started. Processes inherit
    that it is blocked: the first one ends them.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return pool.submit(task)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(job: Job) -> None:
    global _scorer
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _scorer = Scorer(job.bundle, job.root, job.options)


def _end_with_parent() -> None:
    """Ends this process when the run is killed: the pool would wait for more work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _score_chunk(chunk: Chunk) -> pa.Table:
    assert _scorer is not None  # noqa: S101  (the pool starts no task before its initializer has ended)
    return to_table(_scorer.score(chunk))
