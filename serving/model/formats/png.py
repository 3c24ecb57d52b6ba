"""PNG (W3C): header, palette, transparency and image data are kept, text, profiles and further frames not."""

import struct
import zlib

from serving.errors import ImageDamaged, ImageTruncated
from serving.model.formats import exif
from serving.model.formats.image_file import Buffer, ElementCounter, ImageFile

SIGNATURE = b"\x89PNG\r\n\x1a\n"
KEPT_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT"})
# Bytes of a chunk before its data (length and type) and after them (CRC).
CHUNK_HEADER, CHUNK_CRC = 8, 4
XMP = b"XML:com.adobe.xmp\0"
END_CHUNK = b"\0\0\0\0IEND\xaeB`\x82"
# Deflate can encode no data in many bytes: 20 MB of empty blocks take seconds. In files above
# `UNCHECKED_BYTES`, each block of compressed data must inflate to a quarter of its size or more; what real
# compressors write inflates to at least its size.
UNCHECKED_BYTES, BLOCK_BYTES, MIN_INFLATED_BYTES = 2**20, 2**16, 2**14
# Bytes per pixel at most, including the filter byte's share; and bytes of the largest image that is decoded.
MAX_PIXEL_BYTES, MAX_INFLATED_BYTES = 9, 2**28


def matches(data: bytes) -> bool:
    """Does the file begin like a PNG?"""
    return data.startswith(SIGNATURE)


def parse(data: bytes) -> ImageFile:
    """Walks over all chunks, because the orientation may come after the image data."""
    view, counter, offset = memoryview(data), ElementCounter(len(data)), len(SIGNATURE)
    kept: list[Buffer] = [SIGNATURE]
    exif_orientation: int | None = None
    xmp_orientation: int | None = None
    while offset + CHUNK_HEADER <= len(data):
        counter.increment()
        length, kind = struct.unpack_from(">I4s", data, offset)
        end = offset + CHUNK_HEADER + length + CHUNK_CRC
        content = view[offset + CHUNK_HEADER : end - CHUNK_CRC]
        if kind in KEPT_CHUNKS:
            # A truncated chunk is kept as it is; the decoder reports it.
            kept.append(view[offset:end])
        elif kind == b"eXIf" and exif_orientation is None:
            exif_orientation = exif.orientation(content.tobytes())
        elif kind == b"iTXt" and xmp_orientation is None and content[: len(XMP)] == XMP:
            xmp_orientation = exif.orientation_in_xmp(content.tobytes())
        elif kind == b"IEND":
            kept.append(END_CHUNK)
            break
        offset = end
    width, height = _size(kept)
    if len(data) > UNCHECKED_BYTES:
        compressed = b"".join(chunk[CHUNK_HEADER:-CHUNK_CRC] for chunk in kept if chunk[4:8] == b"IDAT")
        _check_density(compressed, min(MAX_PIXEL_BYTES * width * height, MAX_INFLATED_BYTES))
    return ImageFile("PNG", b"".join(kept), width, height, exif_orientation or xmp_orientation or 1)


def _size(chunks: list[Buffer]) -> tuple[int, int]:
    if len(chunks) < 2 or len(chunks[1]) < CHUNK_HEADER + 13:
        raise ImageTruncated
    length, kind, width, height = struct.unpack_from(">I4sII", chunks[1])
    if kind != b"IHDR" or length != 13 or not width * height:
        raise ImageDamaged("it does not begin with a header")
    if any(chunk[4:8] == b"IHDR" for chunk in chunks[2:]):
        raise ImageDamaged("it has two headers")
    return width, height


def _check_density(compressed: bytes, needed: int) -> None:
    """Raises `ImageDamaged` for image data of empty blocks. The decoder reports invalid data."""
    inflater = zlib.decompressobj()
    for start in range(0, len(compressed) - BLOCK_BYTES + 1, BLOCK_BYTES):
        inflated, block = 0, compressed[start : start + BLOCK_BYTES]
        try:
            while block and needed > 0:
                size = len(inflater.decompress(block, 16 * BLOCK_BYTES))
                inflated, needed = inflated + size, needed - size
                block = inflater.unconsumed_tail
        except zlib.error:
            return
        # The decoder stops here too.
        if inflater.eof or needed <= 0:
            return
        if inflated < MIN_INFLATED_BYTES:
            raise ImageDamaged("its image data are empty blocks")
