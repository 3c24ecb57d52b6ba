"""What the decoder is told of a file, and how many pieces a file may have."""

from dataclasses import dataclass
from importlib.util import find_spec

from serving.errors import ImageDamaged

# Optional: the package is larger than all others for images together.
READS_HEIC = find_spec("pillow_heif") is not None
ACCEPTED = "JPEG, PNG, WebP, AVIF, HEIC, GIF or BMP" if READS_HEIC else "JPEG, PNG, WebP, AVIF, GIF or BMP"
# A part of a file, without a copy of it.
Span = bytes | memoryview
# Phones write about 30 pieces, a JPEG with a depth map 300 of 64 kB, libpng one for 8 kB, a GIF one for 255
# bytes of each frame.
MAX_PIECES, BYTES_PER_PIECE = 1000, 128


@dataclass(frozen=True)
class PictureFile:
    """One picture of a file, and what decoding it takes.

    `data` is a file of the same format with the first frame alone; `orientation` is EXIF's, 1 to 8. Sizes are
    in pixels, as stored. `scaled`: does the decoder hold a few rows at a time, at a fraction of the size?
    `passes`: how many times it goes over the pixels. `pixels`: of all that it decodes, which may be more than
    the picture has.
    """

    format: str
    data: bytes
    width: int
    height: int
    orientation: int = 1
    scaled: bool = False
    passes: int = 1
    pixels: int = 0


class Pieces:
    """Counts the pieces of a file of `size` bytes, and refuses one that consists of little else."""

    def __init__(self, size: int) -> None:
        self.left = MAX_PIECES + size // BYTES_PER_PIECE

    def count(self) -> None:
        """One more. Raises `ImageDamaged` if there are too many."""
        self.left -= 1
        if self.left < 0:
            raise ImageDamaged("it consists of more pieces than a picture has")
