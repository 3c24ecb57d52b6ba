"""BMP: the header is checked. Only run lengths need a limit, because Pillow decodes them in Python."""

import struct

from serving.errors import ImageFormatUnsupported, ImageTruncated
from serving.model.formats.image_file import ACCEPTED, ImageFile

SIGNATURE = b"BM"
# Sizes of the headers. The first version has 16 bits for each side and no compression.
CORE_HEADER, HEADERS = 12, (40, 52, 56, 64, 108, 124)
# Compression methods BI_RLE8 and BI_RLE4.
RUN_LENGTHS = (1, 2)
# A run has two bytes or more and may take a microsecond for each pixel.
MAX_RUN_BYTES, MAX_RUN_PIXELS = 2**18, 2**20


def matches(data: bytes) -> bool:
    """Does the file begin like a BMP?"""
    return data.startswith(SIGNATURE)


def parse(data: bytes) -> ImageFile:
    """Reads the header."""
    if len(data) < 26:
        raise ImageTruncated
    (header,) = struct.unpack_from("<I", data, 14)
    if header == CORE_HEADER:
        return ImageFile("BMP", data, *struct.unpack_from("<HH", data, 18))
    if header not in HEADERS:
        raise ImageFormatUnsupported(f"BMP with a header of {header} bytes", ACCEPTED)
    if len(data) < 34:
        raise ImageTruncated
    width, height, _, compression = struct.unpack_from("<iiII", data, 18)
    # A negative height means that the rows are stored from top to bottom.
    height = abs(height)
    if compression in RUN_LENGTHS and (len(data) > MAX_RUN_BYTES or width * height > MAX_RUN_PIXELS):
        raise ImageFormatUnsupported("large BMP with run lengths", ACCEPTED)
    return ImageFile("BMP", data, width, height)
