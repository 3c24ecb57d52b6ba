"""The result of parsing an image file, and the limit on the number of its elements."""

from dataclasses import dataclass
from importlib.util import find_spec

from serving.errors import ImageDamaged

# HEIC is optional: its package is larger than all other image packages together.
HEIC_SUPPORTED = find_spec("pillow_heif") is not None
ACCEPTED = (
    "JPEG, PNG, WebP, AVIF, HEIC, GIF or BMP" if HEIC_SUPPORTED else "JPEG, PNG, WebP, AVIF, GIF or BMP"
)
# A part of a file; a memoryview avoids a copy.
Buffer = bytes | memoryview
# Phones write about 30 elements, a JPEG with a depth map 300 of 64 kB, libpng one for 8 kB, a GIF one for 255
# bytes of each frame.
MAX_ELEMENTS, BYTES_PER_ELEMENT = 1000, 128


@dataclass(frozen=True)
class ImageFile:
    """The first frame of an image file, and what decoding it takes.

    `data` is a file of the same format with the first frame alone. `width` and `height` are in pixels, as
    stored; `orientation` is EXIF's, 1 to 8. `decodes_scaled`: the decoder holds a few rows at a time, at a
    fraction of the size. `scans`: how many times it processes all pixels. `decoded_pixels`: all pixels that
    it decodes, which may be more than the image has.
    """

    format: str
    data: bytes
    width: int
    height: int
    orientation: int = 1
    decodes_scaled: bool = False
    scans: int = 1
    decoded_pixels: int = 0


class ElementCounter:
    """Counts the elements (segments, chunks, boxes, blocks) of a file of `size` bytes, up to a limit."""

    def __init__(self, size: int) -> None:
        self.remaining = MAX_ELEMENTS + size // BYTES_PER_ELEMENT

    def increment(self) -> None:
        """Counts one element. Raises `ImageDamaged` beyond the limit."""
        self.remaining -= 1
        if self.remaining < 0:
            raise ImageDamaged("it consists of more elements than an image needs")
