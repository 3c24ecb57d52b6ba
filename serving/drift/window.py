"""The last answers of a model: five numbers of each, in memory that does not grow and workers share."""

import math
import threading
import time
from pathlib import Path
from struct import Struct
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from serving.workers.shared_folder import SharedFolder
from serving.workers.shared_memory import open_shared_memory

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


# In a file: the number of answers that were ever added, and rows of time (monotonic seconds) and `Answers`.
_TOTAL = Struct("q")
_ROW = Struct(f"{1 + len(Answers._fields)}d")


class AnswerWindow:
    """The last `WINDOW` answers. Threads may add at once; each worker adds to a file of its own.

    `name` is that of the files in `folder`.
    """

    def __init__(self, folder: SharedFolder, name: str) -> None:
        self._folder, self._name = folder, f"answers-{name}"
        size = _TOTAL.size + WINDOW * _ROW.size
        self._path = folder / f"{self._name}.{folder.worker}"
        # A ring buffer. Bytes rather than an array of NumPy, which would take longer to write to.
        self._buffer = open_shared_memory(folder, self._path.name, b"", size)
        (self._added,) = _TOTAL.unpack_from(self._buffer)
        self._lock = threading.Lock()

    @property
    def total(self) -> int:
        """Number of answers that were ever added, by all workers."""
        return sum(total for total, _ in self._files())

    def __len__(self) -> int:
        return min(self.total, WINDOW)

    def add(
        self, best: int, confidence: float, energy: float | None, brightness: float, size: float | None
    ) -> None:
        """Adds an answer, in place of the oldest one of this worker if there are `WINDOW` of them."""
        energy = math.nan if energy is None else energy
        size = math.nan if size is None else size
        with self._lock:
            offset = _TOTAL.size + self._added % WINDOW * _ROW.size
            now = time.monotonic()
            _ROW.pack_into(self._buffer, offset, now, best, confidence, energy, brightness, size)
            self._added += 1
            _TOTAL.pack_into(self._buffer, 0, self._added)

    def answers(self) -> Answers:
        """A copy of the last answers of all workers, in no particular order."""
        tables = [np.frombuffer(rows).reshape(-1, 1 + len(Answers._fields)) for _, rows in self._files()]
        table = np.concatenate(tables)
        if len(table) > WINDOW:
            table = table[np.argpartition(-table[:, 0], WINDOW)[:WINDOW]]
        classes, *others = table[:, 1:].T
        return Answers(classes.astype(np.int64), *others)

    def _read(self, path: Path) -> bytes:
        """The content of a file. Of another worker's, the row that is being written may be of two answers."""
        if path != self._path:
            return path.read_bytes()
        with self._lock:
            return bytes(self._buffer)

    def _files(self) -> list[tuple[int, bytes]]:
        """For each worker the number of its answers, and the rows of the last ones."""
        found = []
        for path in self._folder.path.glob(f"{self._name}.*"):
            data = self._read(path)
            (total,) = _TOTAL.unpack_from(data)
            found.append((total, data[_TOTAL.size : _TOTAL.size + min(total, WINDOW) * _ROW.size]))
        return found
