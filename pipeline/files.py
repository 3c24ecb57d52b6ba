"""Atomic writes of files and folders, digests, and detection of a full disk."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import FileDamaged, TemporaryFolderFull

# No space on the device, disk quota exceeded, file size limit exceeded.
DISK_FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write(path: Path, data: bytes) -> None:
    """Writes a file atomically: under a temporary name, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object that a stage wrote; raises `FileDamaged` if it is not one."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FileDamaged(path, str(error)) from None
    if not isinstance(document, dict):
        raise FileDamaged(path, "it is no JSON object")
    return document


@contextmanager
def replace_folder(folder: Path) -> Iterator[Path]:
    """Yields an empty folder that replaces `folder` if the block succeeds.

    If the block raises, `folder` stays as it was and the new one is removed.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    # Left behind by a killed process. DVC's lock excludes another running process of this stage.
    for leftover in folder.parent.glob(f".{folder.name}.*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)
    fresh.mkdir()
    try:
        yield fresh
        if folder.exists():
            folder.rename(old)
        try:
            fresh.rename(folder)
        # BaseException: after an interruption too, either the old or the new folder must exist.
        except BaseException:
            if old.exists():
                old.rename(folder)
            raise
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


@contextmanager
def report_full_disk(folder: Path) -> Iterator[None]:
    """Turns a full disk into `TemporaryFolderFull`; for blocks that write only below a temporary folder."""
    try:
        yield
    except Exception as error:
        if is_disk_full(error):
            reason = str(error).strip().splitlines()[-1]
            raise TemporaryFolderFull(folder.parent, shutil.disk_usage(folder).free, reason) from error
        raise


def is_disk_full(error: BaseException | None) -> bool:
    """Was the error caused by a full disk? Libraries wrap the system's error, sometimes as text only."""
    while error is not None:
        if getattr(error, "errno", None) in DISK_FULL_ERRORS or any(
            os.strerror(code) in str(error) for code in DISK_FULL_ERRORS
        ):
            return True
        error = error.__cause__ or error.__context__
    return False
