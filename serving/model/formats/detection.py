"""Which format a file is of, and the walk over it."""

from collections.abc import Callable

from serving.model.formats import bmp, gif, heif, jpeg, png, webp
from serving.model.formats.image_file import PictureFile

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
