"""A folder that all processes of one server share, if possible in memory. It ends with them."""

import os
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Self

from serving.artifact.atomic_folder import lock_folder_now

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108
PREFIX = "goldfish-"
# More than the files of a server with a few workers take.
ROOM_BYTES = 32 * 2**20
# Another server may take a new folder for a leftover, but not so often.
ATTEMPTS = 10
# Followed by a model's name: the file with the pin of its active version.
ACTIVE_PREFIX = "active-"


class SharedFolder:
    """`worker` is the number of this process among the workers that run at the same time, from 0.

    The folder is locked as long as one of its processes lives: the lock is inherited by processes that are
    forked. So leftovers of killed servers can be told from folders in use.
    """

    def __init__(self, path: Path, lock: int) -> None:
        self.path, self.worker = path, 0
        self._lock = lock
        weakref.finalize(self, _remove, path, os.getpid())

    @classmethod
    def create(cls, parent: Path = SHARED_MEMORY) -> Self:
        """A new folder, in shared memory or where temporary files are; removes leftovers there."""
        place = parent if _has_room(parent) else Path(tempfile.gettempdir())
        _remove_leftovers(place)
        for _ in range(ATTEMPTS):
            path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
            # Another server may take it for a leftover before it is locked; then try again.
            if (lock := lock_folder_now(path)) is not None:
                return cls(path, lock)
        raise OSError(f"folders in {place} cannot be locked")

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def write(self, name: str, data: bytes) -> None:
        """Writes a file, complete or not at all."""
        temporary = self.path / f".{name}.{os.getpid()}"
        temporary.write_bytes(data)
        temporary.replace(self.path / name)

    def write_once(self, name: str, data: bytes) -> bool:
        """Writes a file unless it is there; returns whether this process has written it."""
        temporary = self.path / f".{name}.{os.getpid()}"
        temporary.write_bytes(data)
        try:
            # Unlike a rename it does not replace a file that is there.
            (self.path / name).hardlink_to(temporary)
        except FileExistsError:
            return False
        finally:
            temporary.unlink()
        return True

    def remove_counts(self, digest: str) -> None:
        """Removes what the workers have counted of a version that is dropped."""
        for kind in ("requests", "last-request", "answers"):
            for path in self.path.glob(f"{kind}-{digest}*"):
                path.unlink(missing_ok=True)

    def read(self, name: str) -> bytes | None:
        """The bytes of a file; None if it does not exist."""
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            return None


def _has_room(folder: Path) -> bool:
    """Can a folder be written to? Where its memory has run out, access to a mapped file ends the process."""
    return os.access(folder, os.W_OK) and shutil.disk_usage(folder).free >= ROOM_BYTES


def _remove(path: Path, owner: int) -> None:
    """Removes the folder at the end of the process that has made it, not of one that was forked."""
    if os.getpid() == owner:
        shutil.rmtree(path, ignore_errors=True)


def _remove_leftovers(place: Path) -> None:
    for leftover in place.glob(f"{PREFIX}*"):
        if (lock := lock_folder_now(leftover)) is not None:
            shutil.rmtree(leftover, ignore_errors=True)
            os.close(lock)
