"""Detects the format of an image file, and calls the format's parser."""

from collections.abc import Callable

from serving.model.formats import bmp, gif, heif, jpeg, png, webp
from serving.model.formats.image_file import ImageFile

Matches = Callable[[bytes], bool]
Parse = Callable[[bytes], ImageFile]
FORMATS: dict[str, tuple[Matches, Parse]] = {
    "JPEG": (jpeg.matches, jpeg.parse),
    "PNG": (png.matches, png.parse),
    "WEBP": (webp.matches, webp.parse),
    "GIF": (gif.matches, gif.parse),
    "BMP": (bmp.matches, bmp.parse),
    "AVIF": (heif.is_avif, heif.parse),
    "HEIC": (heif.is_heic, heif.parse),
}


def detect(data: bytes) -> str | None:
    """The format by the first bytes; None if no format matches."""
    return next((name for name, (matches, _) in FORMATS.items() if matches(data)), None)


def parse(name: str, data: bytes) -> ImageFile:
    """Parses a file of that format.

    Raises an `ImageError` if it is damaged, truncated, or has too many elements.
    """
    return FORMATS[name][1](data)
