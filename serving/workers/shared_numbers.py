"""Numbers that each worker adds to in a file of its own, so that none waits for another."""

import threading
from collections.abc import Sequence
from struct import Struct

from serving.workers.shared_folder import SharedFolder
from serving.workers.shared_memory import open_shared_memory

Row = tuple[float, ...]


class SharedNumbers:
    """`size` numbers of each worker, which all workers can read. Thread-safe.

    A worker that takes the place of another one goes on with its numbers: nothing that was counted is lost.
    """

    def __init__(self, folder: SharedFolder, name: str, size: int) -> None:
        self._folder, self._name, self._format = folder, name, Struct(f"{size}d")
        self._memory = open_shared_memory(folder, f"{name}.{folder.worker}", b"", self._format.size)
        self._own = list(self._format.unpack(self._memory))
        self._lock = threading.Lock()

    def add(self, amounts: Sequence[float]) -> None:
        """Adds to the numbers of this worker."""
        with self._lock:
            self._own = [number + amount for number, amount in zip(self._own, amounts, strict=True)]
            self._format.pack_into(self._memory, 0, *self._own)

    def put(self, numbers: Sequence[float]) -> None:
        """Replaces the numbers of this worker."""
        with self._lock:
            self._own = list(numbers)
            self._format.pack_into(self._memory, 0, *self._own)

    def rows(self) -> list[Row]:
        """The numbers of each worker, also of those that have ended."""
        paths = self._folder.path.glob(f"{self._name}.*")
        return [self._format.unpack(path.read_bytes()) for path in paths]

    def total(self) -> Row:
        """The sums over all workers."""
        return tuple(map(sum, zip(*self.rows(), strict=True)))
