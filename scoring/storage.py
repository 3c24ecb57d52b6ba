"""Files on this machine, on web servers and in object stores, under one interface.

Local files are opened directly. Everything else goes through fsspec: `https://` with its own client, `s3://`
and `gs://` with those of Arrow, which need no further package and find credentials as the vendors' tools do.
"""

import os
import stat
import time
from functools import cache
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.arrow import ArrowFSWrapper
from pyarrow.fs import FileSystem

from scoring.errors import FileMissing, FileUnreadable
from serving.artifact import files
from serving.errors import FileUnreadable as LocalFileUnreadable
from serving.errors import ImageTooLarge

# Object stores of which Arrow has a client.
ARROW_SCHEMES = ("s3", "gs", "gcs")
# A remote file is tried so often, with these pauses. fsspec's HTTP client does not repeat requests.
TRIES, PAUSE_SECONDS = 3, 0.5
NOT_FOUND = 404


def is_remote(path: str) -> bool:
    """Is it an address, such as `https://host/a.jpg`, and not the path of a file?"""
    return "://" in path


def join(root: str, entry: str) -> str:
    """The path of an entry of a list; a relative one is below `root`."""
    if is_remote(entry):
        return entry
    return f"{root.rstrip('/')}/{entry}" if is_remote(root) else os.path.join(root, entry)  # noqa: PTH118  (may be no path)


@cache
def _filesystem(scheme: str) -> Any:  # noqa: ANN401  (fsspec has no types)
    if scheme in ARROW_SCHEMES:
        return ArrowFSWrapper(FileSystem.from_uri(f"{scheme}://")[0])
    return fsspec.filesystem(scheme)


def remote_filesystem(url: str) -> tuple[Any, str]:
    """The file system of an address, and the path in it. Raises `OSError` for a scheme that is not known."""
    scheme = url.split("://", 1)[0]
    try:
        filesystem = _filesystem(scheme)
        return filesystem, filesystem._strip_protocol(url)
    except (ValueError, ImportError) as error:
        raise OSError(f"{scheme}:// cannot be opened ({error})") from None


def read_image(path: str, limit: int) -> bytes:
    """The bytes of an image. Raises a `FileError`, or `ImageTooLarge` above `limit` bytes."""
    return _read_remote(path, limit) if is_remote(path) else _read_local(path, limit)


def _read_local(path: str, limit: int) -> bytes:
    try:
        # Only of files: a folder's size says nothing.
        status = Path(path).stat()
        if stat.S_ISREG(status.st_mode) and status.st_size > limit:
            raise ImageTooLarge(status.st_size, limit)
        data = files.read_file(Path(path), limit)
    except LocalFileUnreadable as error:
        raise FileUnreadable(error.reason) from None
    except (FileNotFoundError, NotADirectoryError):
        raise FileMissing from None
    # ValueError: a path with a NUL.
    except (OSError, ValueError) as error:
        raise FileUnreadable(getattr(error, "strerror", None) or str(error)) from None
    if data is None:
        raise FileMissing
    return data


def _read_remote(url: str, limit: int) -> bytes:
    reason = ""
    for attempt in range(TRIES):
        time.sleep(attempt * PAUSE_SECONDS)
        try:
            filesystem, path = remote_filesystem(url)
            with filesystem.open(path, "rb") as file:
                # One byte more than the limit tells that there is more.
                data: bytes = file.read(limit + 1)
        except FileNotFoundError as error:
            # fsspec's HTTP client raises it for whatever goes wrong, with the reason as the cause.
            if error.__cause__ is None or getattr(error.__cause__, "status", 0) == NOT_FOUND:
                raise FileMissing from None
            reason = str(error.__cause__)
        # The clients raise many types: OSError, asyncio's and aiohttp's errors, ValueError.
        except Exception as error:  # noqa: BLE001
            reason = str(error) or type(error).__name__
        else:
            if len(data) > limit:
                raise ImageTooLarge(len(data), limit)
            return data
    raise FileUnreadable(f"{reason}, {TRIES} times")
