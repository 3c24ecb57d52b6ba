"""Files from the network, through Keras's cache: `KERAS_HOME` makes them work with no network at all.

A download goes to `<name>.part` and goes on where it broke off; only what is whole gets its name.
"""

import http
import http.client
import urllib.error
import urllib.request
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from tqdm import tqdm

from pipeline.errors import SourceUnavailable

# Between two pieces of a download; a slower network than that is none.
TIMEOUT_S = 30
CHUNK = 1 << 20


def cached(url: str, keras_home: Path, folder: str, what: str, most: int) -> Path:
    """The file behind `url`, from the cache that `keras.utils.get_file` uses, or downloaded into it.

    At most `most` bytes are downloaded. Raises `SourceUnavailable`, which tells both ways to provide it.
    """
    path = keras_home.expanduser() / folder / PurePosixPath(urlsplit(url).path).name
    if not path.is_file():
        try:
            _download(url, path, most)
        except (OSError, http.client.HTTPException) as error:
            raise SourceUnavailable(what, url, path, str(error) or type(error).__name__) from None
    return path


def _download(url: str, path: Path, most: int) -> None:
    if urlsplit(url).scheme not in ("https", "http"):
        raise OSError(f"{url} is neither https nor http")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    there = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={there}-"} if there else {})  # noqa: S310
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_S)  # noqa: S310
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        # What is there does not fit the file any more: from the beginning.
        part.unlink()
        return _download(url, path, most)
    with response:
        resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
        expected = response.length
        begin = there if resumed else 0
        _refuse_beyond(begin + (expected or 0), most, part)
        progress = tqdm(
            desc=path.name, unit="B", unit_scale=True, disable=None, initial=begin,
            total=None if expected is None else expected + begin,
        )  # fmt: skip
        received = 0
        with part.open("ab" if resumed else "wb") as file, progress:
            while chunk := response.read(CHUNK):
                file.write(chunk)
                received += len(chunk)
                _refuse_beyond(begin + received, most, part)
                progress.update(len(chunk))
    if expected is not None and received != expected:
        raise OSError(f"broke off after {received:,} of {expected:,} bytes; run again to go on from there")
    part.replace(path)
    return None


def _refuse_beyond(size: int, most: int, part: Path) -> None:
    """Ends a download that is too long; going on with it would be of no use."""
    if size > most:
        part.unlink(missing_ok=True)
        raise OSError(f"it has more than {most:,} bytes")
