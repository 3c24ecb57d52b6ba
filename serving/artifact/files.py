"""Bounded reads of files that may have been tampered with, and canonical JSON."""

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from serving.errors import DigestMismatch, FileUnreadable

# File types that are refused, by the test that detects them.
SPECIAL_FILES = {
    stat.S_ISFIFO: "a pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}


def read_file(path: Path, limit: int, exact: bool = False) -> bytes | None:
    """The bytes of a file; None if it does not exist.

    `limit` is the largest allowed size, or with `exact` the only one. The size is checked before any byte is
    read. Raises `FileUnreadable` for pipes, sockets and devices, without blocking on them.
    """
    try:
        with open(path, "rb", opener=_open_nonblocking) as file:
            _check_type_and_size(path, os.fstat(file.fileno()), limit, exact)
            # One byte beyond the limit detects a file that grows after the check.
            data = file.read(limit + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise FileUnreadable(path, error.strerror or type(error).__name__) from None
    if len(data) > limit:
        raise FileUnreadable(path, f"it has more than {limit:,} bytes")
    return data


def _open_nonblocking(path: str, flags: int) -> int:
    """Without O_NONBLOCK, opening a pipe blocks until another process opens it for writing."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


def _check_type_and_size(path: Path, status: os.stat_result, limit: int, exact: bool) -> None:
    for is_special, name in SPECIAL_FILES.items():
        if is_special(status.st_mode):
            raise FileUnreadable(path, f"it is {name}, and not a file")
    if exact and status.st_size != limit:
        raise DigestMismatch(path, f"{limit:,} bytes", f"{status.st_size:,}", "size")
    if status.st_size > limit:
        raise FileUnreadable(path, f"it has {status.st_size:,} bytes, and {limit:,} are allowed")


def list_files(folder: Path) -> Iterator[Path]:
    """Everything below a folder except subfolders. Links are listed, not followed."""

    def refuse(error: OSError) -> None:
        raise FileUnreadable(Path(error.filename), error.strerror or type(error).__name__) from None

    for root, folders, files in os.walk(folder, onerror=refuse):
        links = [name for name in folders if Path(root, name).is_symlink()]
        yield from (Path(root, name) for name in (*files, *links))


def write_file(path: Path, data: bytes) -> None:
    """Writes a file and creates its parent folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def to_json(document: object) -> bytes:
    """Canonical JSON: sorted keys, one space of indent, UTF-8, a newline at the end."""
    text = json.dumps(document, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"
