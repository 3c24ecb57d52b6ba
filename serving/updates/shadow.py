"""Compares samples of a trial in the background, when no request wants the processor."""

import queue
import threading
import time
from collections.abc import Callable

from serving.log import LOG
from serving.updates.trial import Sample, Trial

# Samples that may wait. Each holds the pixels of an image and up to `MAX_ENCODED_BYTES`.
QUEUE, MAX_ENCODED_BYTES = 16, 2**20
# How long a sample waits for an idle slot before it is dropped, and how often the thread looks for one.
WAIT_SECONDS, POLL_SECONDS = 1.0, 0.001


class ShadowRunner:
    """`is_idle` returns whether there is a slot that no request uses or waits for."""

    def __init__(self, is_idle: Callable[[], bool]) -> None:
        self._is_idle = is_idle
        self._samples: queue.Queue[tuple[Trial, Sample]] = queue.Queue(QUEUE)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def submit(self, trial: Trial, sample: Sample) -> None:
        """Takes a sample, or drops it if too many wait. Called when the client has its answer."""
        needs_file = trial.active.predictor.preprocessing != trial.candidate.predictor.preprocessing
        if not needs_file:
            sample = sample._replace(encoded=None)
        elif sample.encoded is None or len(sample.encoded) > MAX_ENCODED_BYTES:
            trial.drop()
            return
        try:
            self._samples.put_nowait((trial, sample))
        except queue.Full:
            trial.drop()
            return
        self._start()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            trial, sample = self._samples.get()
            if not self._await_idle():
                trial.drop()
                continue
            try:
                trial.compare(sample)
            # The thread serves all later samples.
            except Exception:  # noqa: BLE001
                LOG.exception("a sample could not be compared")

    def _await_idle(self) -> bool:
        end = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < end:
            # Also at first: the client's next request may be just about to come.
            time.sleep(POLL_SECONDS)
            if self._is_idle():
                return True
        return False
