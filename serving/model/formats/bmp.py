"""BMP: nothing in it is without bounds but its run lengths, which Pillow decodes in Python."""

import struct

from serving.errors import ImageFormatUnsupported, ImageTruncated
from serving.model.formats.image_file import ACCEPTED, PictureFile

SIGNATURE = b"BM"
# The old header has 16 bits for each side and no compression.
OLD_HEADER, HEADERS = 12, (40, 52, 56, 64, 108, 124)
RUN_LENGTHS = (1, 2)
# A run has two bytes or more and may take a microsecond for each pixel.
MAX_RUN_BYTES, MAX_RUN_PIXELS = 2**18, 2**20


def accepts(data: bytes) -> bool:
    """Is it meant to be a BMP?"""
    return data.startswith(SIGNATURE)


def read(data: bytes) -> PictureFile:
    """Reads the header."""
    if len(data) < 26:
        raise ImageTruncated
    (header,) = struct.unpack_from("<I", data, 14)
    if header == OLD_HEADER:
        return PictureFile("BMP", data, *struct.unpack_from("<HH", data, 18))
    if header not in HEADERS:
        raise ImageFormatUnsupported(f"BMP with a header of {header} bytes", ACCEPTED)
    if len(data) < 34:
        raise ImageTruncated
    width, height, _, compression = struct.unpack_from("<iiII", data, 18)
    height = abs(height)
    if compression in RUN_LENGTHS and (len(data) > MAX_RUN_BYTES or width * height > MAX_RUN_PIXELS):
        raise ImageFormatUnsupported("large BMP with run lengths", ACCEPTED)
    return PictureFile("BMP", data, width, height)
