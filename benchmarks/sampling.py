"""Samples a value in a background thread, such as the memory of processes or the latency of a route."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Sample = TypeVar("Sample")


@contextmanager
def sampled(read: Callable[[], Sample], interval: float) -> Iterator[list[Sample]]:
    """Calls `read` before the block, every `interval` seconds during it, and after it; yields the samples."""
    stop, samples = threading.Event(), [read()]

    def sample() -> None:
        while not stop.wait(interval):
            samples.append(read())

    with ThreadPoolExecutor(1) as pool:
        sampling = pool.submit(sample)
        try:
            yield samples
        finally:
            stop.set()
            sampling.result()
            samples.append(read())
