"""Files on this machine, on web servers and in object stores, under one interface.

Local files are opened directly. Everything else goes through fsspec: `https://` with its own client, `s3://`
and `gs://` with those of Arrow, which need no further package and find credentials as the vendors' tools do.

The clients wait for about a minute for a server that does not answer. By default it would be a quarter of
an hour for each file.
"""

import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.arrow import ArrowFSWrapper
from pyarrow.fs import AwsStandardS3RetryStrategy, FileSelector, FileType, GcsFileSystem, S3FileSystem

from scoring.environment import s3_endpoint
from scoring.errors import FileMissing, FileUnreadable
from serving.artifact import files
from serving.errors import FileUnreadable as LocalFileUnreadable
from serving.errors import ImageTooLarge

# Object stores of which Arrow has a client, which repeats requests that failed.
ARROW_SCHEMES = ("s3", "gs", "gcs")
WEB_SCHEMES = ("http", "https")
# A file of a web server is tried so often, with these pauses: fsspec's HTTP client does not repeat requests.
# S3 requests are tried as often.
TRIES, PAUSE_SECONDS = 3, 0.5
# Until a connection is there, and from then on without a byte, for each try.
CONNECT_SECONDS, SILENT_SECONDS = 5, 10
# Of one request to Google's store, with all its tries.
GCS_SECONDS = 30
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
    if scheme == "s3":
        return ArrowFSWrapper(_s3())
    if scheme in ARROW_SCHEMES:
        return ArrowFSWrapper(GcsFileSystem(retry_time_limit=timedelta(seconds=GCS_SECONDS)))
    if scheme in WEB_SCHEMES:
        # It takes a tenth of a second, in each process.
        import aiohttp

        timeout = aiohttp.ClientTimeout(None, sock_connect=CONNECT_SECONDS, sock_read=SILENT_SECONDS)
        return fsspec.filesystem(scheme, client_kwargs={"timeout": timeout})
    return fsspec.filesystem(scheme)


def _s3() -> S3FileSystem:
    """A client that uploads small files with one request, so that a killed run leaves no half upload."""
    return S3FileSystem(
        # Arrow reads such variables only for addresses that it parses itself.
        endpoint_override=s3_endpoint(),
        connect_timeout=CONNECT_SECONDS,
        request_timeout=SILENT_SECONDS,
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=TRIES),
        allow_delayed_open=True,
    )


def _open_filesystem(url: str) -> tuple[Any, str]:
    """The file system of an address, and the path in it.

    Raises `OSError` for a scheme that is not known, and for an address without a bucket or host.
    """
    scheme, rest = url.split("://", 1)
    if not rest.split("/", 1)[0]:
        raise OSError(f"{scheme}:// is followed by no bucket or host")
    try:
        filesystem = _filesystem(scheme)
        return filesystem, filesystem._strip_protocol(url)
    except (ValueError, ImportError) as error:
        raise OSError(f"{scheme}:// cannot be opened ({error})") from None


def list_remote(url: str) -> Iterator[str]:
    """All files below an address, relative to it. Raises `OSError` if any folder cannot be listed.

    fsspec's own `find` leaves out what it cannot list.
    """
    filesystem, path = _open_filesystem(url)
    start = path.rstrip("/") + "/"
    names = _list_arrow if isinstance(filesystem, ArrowFSWrapper) else _list_folder
    with _reporting():
        for name in names(filesystem, path):
            yield name.removeprefix(start)


def read_remote(url: str) -> bytes:
    """All bytes of a file. Raises `OSError`; `FileNotFoundError` if there is none."""
    filesystem, path = _open_filesystem(url)
    with _reporting():
        data: bytes = filesystem.cat_file(path)
    return data


def write_remote(url: str, data: bytes) -> None:
    """Writes a file as a whole. Raises `OSError`."""
    filesystem, path = _open_filesystem(url)
    with _reporting():
        filesystem.pipe_file(path, data)


@contextmanager
def _reporting() -> Iterator[None]:
    """Raises `OSError` for the other types that clients raise: asyncio's and aiohttp's errors, ValueError."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001
        raise OSError(str(error) or type(error).__name__) from None


def _list_arrow(filesystem: Any, path: str) -> Iterator[str]:  # noqa: ANN401
    """A thousand files a request, where folder by folder would be a request for each folder."""
    for found in filesystem.fs.get_file_info(FileSelector(path, recursive=True)):
        if found.type == FileType.File:
            yield found.path


def _list_folder(filesystem: Any, path: str) -> Iterator[str]:  # noqa: ANN401
    for found in filesystem.ls(path, detail=True):
        if found["type"] == "directory":
            yield from _list_folder(filesystem, found["name"])
        else:
            yield found["name"]


def read_image(path: str, limit: int) -> bytes:
    """The bytes of an image. Raises a `FileError`, or `ImageTooLarge` above `limit` bytes."""
    return _read_remote(path, limit) if is_remote(path) else _read_local(path, limit)


def _read_local(path: str, limit: int) -> bytes:
    try:
        file = Path(path)
        status = file.stat()
        # Only of files: a folder's size says nothing.
        if stat.S_ISREG(status.st_mode):
            if status.st_size > limit:
                raise ImageTooLarge(status.st_size, limit)
            # Memory is allocated for the limit before a file is read, which takes longer than to read it.
            limit = status.st_size
        data = files.read_file(file, limit)
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
    reason, tries = "", TRIES if url.startswith(tuple(f"{each}://" for each in WEB_SCHEMES)) else 1
    for attempt in range(tries):
        time.sleep(attempt * PAUSE_SECONDS)
        try:
            filesystem, path = _open_filesystem(url)
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
    raise FileUnreadable(reason.rstrip(".") + (f", {tries} times" if tries > 1 else ""))
