"""A lock for all threads of all worker processes, which a killed process does not leave behind."""

import fcntl
import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class SharedLock:
    """Locks a file, which is made when it is needed first.

    The system unlocks the file when the process ends, however it ends. Each process needs an object of its
    own: one that has been used before a fork locks nothing between parent and child.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, -1
        # The file is locked for the whole process, so its threads need a lock of their own.
        self._threads = threading.Lock()

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Holds the lock during the block; waits for it as long as it takes. Raises `OSError`."""
        with self._threads:
            if self._file < 0:
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
                weakref.finalize(self, os.close, self._file)
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)
