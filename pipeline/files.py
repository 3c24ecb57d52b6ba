"""Files that are whole or not there: digests, and writing without leaving anything half-written."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import FileDamaged, TemporaryFull

# How a system says that there is no room: on the disk, for this user, for a file of this size.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write(path: Path, data: bytes) -> None:
    """Writes a file under a temporary name and renames it, so that readers see the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object that a stage has written; `FileDamaged` if it is none any more."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FileDamaged(path, str(error)) from None
    if not isinstance(document, dict):
        raise FileDamaged(path, "it is no JSON object")
    return document


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Yields an empty folder that takes the place of `folder` when the block ends well.

    When it does not, what was there before stays and the new one is removed.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    # What a killed process has left; DVC lets no other one of this stage run meanwhile.
    for leftover in folder.parent.glob(f".{folder.name}.*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)
    fresh.mkdir()
    try:
        yield fresh
        if folder.exists():
            folder.rename(old)
        try:
            fresh.rename(folder)
        # Also when somebody interrupts it: there must be one of the two.
        except BaseException:
            if old.exists():
                old.rename(folder)
            raise
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


@contextmanager
def filling(folder: Path) -> Iterator[None]:
    """For blocks that only write below a temporary folder: if there is no room, `TemporaryFull` names it."""
    try:
        yield
    except Exception as error:
        if is_full(error):
            said = str(error).strip().splitlines()[-1]
            raise TemporaryFull(folder.parent, shutil.disk_usage(folder).free, said) from error
        raise


def is_full(error: BaseException | None) -> bool:
    """Is there no room left? Libraries pack the system's error into others, at times as text only."""
    while error is not None:
        if getattr(error, "errno", None) in FULL or any(os.strerror(code) in str(error) for code in FULL):
            return True
        error = error.__cause__ or error.__context__
    return False
