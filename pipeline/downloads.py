"""Downloads into Keras's cache. With a filled cache, named by `KERAS_HOME`, no network is needed.

A download is written to `<name>.part`, resumed after an interruption, and renamed once it is complete.
"""

import http
import http.client
import urllib.error
import urllib.request
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from tqdm import tqdm

from pipeline.errors import SourceUnavailable

# Seconds without a byte after which the connection counts as lost.
TIMEOUT_S = 30
CHUNK_BYTES = 1 << 20


def cached_download(url: str, keras_home: Path, folder: str, description: str, max_bytes: int) -> Path:
    """The path of the file in the cache that `keras.utils.get_file` uses; downloads it if it is not there.

    Raises `SourceUnavailable` if that fails or the file is larger than `max_bytes`.
    """
    path = keras_home.expanduser() / folder / PurePosixPath(urlsplit(url).path).name
    if not path.is_file():
        try:
            _download(url, path, max_bytes)
        except (OSError, http.client.HTTPException) as error:
            raise SourceUnavailable(description, url, path, str(error) or type(error).__name__) from None
    return path


def _download(url: str, path: Path, max_bytes: int) -> None:
    if urlsplit(url).scheme not in ("https", "http"):
        raise OSError(f"{url} is neither https nor http")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    offset = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={offset}-"} if offset else {})  # noqa: S310
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_S)  # noqa: S310
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        # The partial file is longer than the remote file: start again.
        part.unlink()
        return _download(url, path, max_bytes)
    with response:
        resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
        expected = response.length
        begin = offset if resumed else 0
        _check_size(begin + (expected or 0), max_bytes, part)
        progress = tqdm(
            desc=path.name, unit="B", unit_scale=True, disable=None, initial=begin,
            total=None if expected is None else expected + begin,
        )  # fmt: skip
        received = 0
        with part.open("ab" if resumed else "wb") as file, progress:
            while chunk := response.read(CHUNK_BYTES):
                file.write(chunk)
                received += len(chunk)
                _check_size(begin + received, max_bytes, part)
                progress.update(len(chunk))
    if expected is not None and received != expected:
        raise OSError(f"broke off after {received:,} of {expected:,} bytes; run again to go on from there")
    part.replace(path)
    return None


def _check_size(size: int, max_bytes: int, part: Path) -> None:
    """Deletes the partial file and raises `OSError` if the download is too large."""
    if size > max_bytes:
        part.unlink(missing_ok=True)
        raise OSError(f"it has more than {max_bytes:,} bytes")
