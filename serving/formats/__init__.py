"""What a picture's file consists of, found out before a decoder sees it.

Decoders read whatever a file holds: profiles, comments, thumbnails, further frames, any number of them. That
costs minutes and gigabytes for files of a few kilobytes. So each format has a module here that walks over the
pieces of a file within bounds, and keeps what the first frame is decoded from and nothing else. It also reads
what a decoder would allocate, which need not be what the file's header says.

`find` tells the format by the first bytes, `read` gives a `PictureFile`: the decoder checks its numbers, and
decodes its `data`.
"""

from collections.abc import Callable

from serving.formats import bmp, gif, heif, jpeg, png, webp
from serving.formats.picture_file import PictureFile

__all__ = ["PictureFile", "find", "read"]

Accepts = Callable[[bytes], bool]
Read = Callable[[bytes], PictureFile]
FORMATS: dict[str, tuple[Accepts, Read]] = {
    "JPEG": (jpeg.accepts, jpeg.read),
    "PNG": (png.accepts, png.read),
    "WEBP": (webp.accepts, webp.read),
    "GIF": (gif.accepts, gif.read),
    "BMP": (bmp.accepts, bmp.read),
    "AVIF": (heif.is_avif, heif.read),
    "HEIC": (heif.is_heic, heif.read),
}


def find(data: bytes) -> str | None:
    """The format that a file is meant to be of; None if it is of none that is known here."""
    return next((name for name, (accepts, _) in FORMATS.items() if accepts(data)), None)


def read(name: str, data: bytes) -> PictureFile:
    """Walks over a file of that format.

    Raises an `ImageError` if it is damaged, breaks off, or has more pieces than a picture needs.
    """
    return FORMATS[name][1](data)
