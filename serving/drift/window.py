"""The last answers of this process: five numbers of each, in memory that does not grow."""

import math
import threading
from struct import Struct
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

WINDOW = 1000

Numbers = npt.NDArray[np.float64]


class Answers(NamedTuple):
    """One entry for each of N answers, all [N]; NaN where an answer has no such number.

    `classes` are indices of best classes, `confidence` their probabilities. `brightness` is from 0 to 1, and
    `size` the square root of the number of pixels of the file.
    """

    classes: npt.NDArray[np.int64]
    confidence: Numbers
    energy: Numbers
    brightness: Numbers
    size: Numbers


class AnswerWindow:
    """A ring buffer of the last `WINDOW` answers, which threads may add to at once."""

    def __init__(self) -> None:
        # Bytes rather than an array of NumPy, which would take longer to write a few numbers to.
        self._row = Struct(f"{len(Answers._fields)}d")
        self._buffer = bytearray(WINDOW * self._row.size)
        self._lock = threading.Lock()
        # Number of answers that were ever added.
        self.total = 0

    def __len__(self) -> int:
        return min(self.total, WINDOW)

    def add(
        self, best: int, confidence: float, energy: float | None, brightness: float, size: float | None
    ) -> None:
        """Adds an answer, in place of the oldest one if the window is full."""
        energy = math.nan if energy is None else energy
        size = math.nan if size is None else size
        with self._lock:
            offset = self.total % WINDOW * self._row.size
            self._row.pack_into(self._buffer, offset, best, confidence, energy, brightness, size)
            self.total += 1

    def answers(self) -> Answers:
        """A copy of all answers, in no particular order."""
        with self._lock:
            rows = self._buffer[: len(self) * self._row.size]
        classes, *others = np.frombuffer(rows).reshape(-1, len(Answers._fields)).T
        return Answers(classes.astype(np.int64), *others)
