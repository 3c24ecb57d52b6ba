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


def cached(url: str, keras_home: Path, folder: str, what: str) -> Path:
    """The file behind `url`, from the cache that `keras.utils.get_file` uses, or downloaded into it.

    Raises `SourceUnavailable`, which tells both ways to provide it.
    """
    path = keras_home.expanduser() / folder / PurePosixPath(urlsplit(url).path).name
    if not path.is_file():
        try:
            _download(url, path)
        except (OSError, http.client.HTTPException) as error:
            raise SourceUnavailable(what, url, path, str(error) or type(error).__name__) from None
    return path


def _download(url: str, path: Path) -> None:
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
        return _download(url, path)
    with response:
        resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
        expected = response.length
        progress = tqdm(
            desc=path.name, unit="B", unit_scale=True, disable=None, initial=there if resumed else 0,
            total=None if expected is None else expected + (there if resumed else 0),
        )  # fmt: skip
        received = 0
        with part.open("ab" if resumed else "wb") as file, progress:
            while chunk := response.read(CHUNK):
                file.write(chunk)
                received += len(chunk)
                progress.update(len(chunk))
    if expected is not None and received != expected:
        raise OSError(f"broke off after {received:,} of {expected:,} bytes; run again to go on from there")
    part.replace(path)
    return None
