"""Replaces a folder as a whole, while other processes may be doing the same.

New content is written into a hidden folder beside the target, because only within one file system can a
folder be renamed. The hidden folder is locked as long as its process lives, so that leftovers of killed
processes can be told from folders in use.
"""

import fcntl
import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

# In the hidden folder: the new content, and the old one while it is replaced.
NEW, OLD = "new", "old"


@contextmanager
def temporary_folder(target: Path) -> Iterator[Path]:
    """A locked hidden folder beside `target`, removed at the end."""
    name, lock = "", None
    try:
        while lock is None:
            name = mkdtemp(prefix=_prefix(target), dir=target.parent)
            # Another process may have removed it as a leftover before it was locked; then try again.
            with suppress(FileNotFoundError):
                lock = _lock_folder(Path(name), fcntl.LOCK_EX)
        yield Path(name)
    finally:
        shutil.rmtree(name, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def remove_leftovers(target: Path) -> None:
    """Removes hidden folders of killed processes; moves an old content back if the target is missing."""
    for leftover in target.parent.glob(f"{glob.escape(_prefix(target))}*"):
        lock = lock_folder_now(leftover)
        if lock is None:
            continue
        with suppress(OSError):
            if not os.path.lexists(target):
                (leftover / OLD).rename(target)
        shutil.rmtree(leftover, ignore_errors=True)
        os.close(lock)


def replace_folder(target: Path, temporary: Path) -> None:
    """Moves `temporary / NEW` to the target. If that fails, the old content is moved back."""
    try:
        if target.exists():
            target.rename(temporary / OLD)
        (temporary / NEW).rename(target)
    # BaseException: Ctrl-C between the two renames must not lose the old content.
    except BaseException:
        if (temporary / OLD).exists() and not target.exists():
            (temporary / OLD).rename(target)
        raise


@contextmanager
def exclusive_lock(folder: Path) -> Iterator[None]:
    """Holds a lock on a folder, so that only one process renames entries in it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        # NFS cannot lock folders. Without the lock, two concurrent pulls may leave the target missing for a
        # moment.
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def lock_folder_now(folder: Path) -> int | None:
    """A descriptor that locks a folder; None if it was removed or another process has locked it."""
    with suppress(OSError):
        return _lock_folder(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return None


def _prefix(target: Path) -> str:
    return f".{target.name}.pulling-"


def _lock_folder(folder: Path, operation: int) -> int | None:
    """A descriptor that locks a folder; None if the folder was removed.

    With LOCK_NB, raises `OSError` if another process holds the lock.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, operation)
    except OSError:
        # NFS cannot lock folders. The pull continues without a lock, and leftovers are not removed there.
        if operation & fcntl.LOCK_NB:
            os.close(handle)
            raise
    with suppress(FileNotFoundError):
        if os.path.samestat(os.fstat(handle), folder.stat()):
            return handle
    os.close(handle)
    return None
