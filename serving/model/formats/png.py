"""PNG (W3C): header, palette, transparency and image data are kept; text, profiles and more frames not."""

import struct
import zlib

from serving.errors import ImageDamaged, ImageTruncated
from serving.model.formats import exif
from serving.model.formats.image_file import PictureFile, Pieces, Span

SIGNATURE = b"\x89PNG\r\n\x1a\n"
KEPT = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT"})
# Length and kind before the data of a chunk, a checksum behind it.
BEFORE, AFTER = 8, 4
XMP = b"XML:com.adobe.xmp\0"
END = b"\0\0\0\0IEND\xaeB`\x82"
# Deflate can describe nothing at length: 20 MB of empty blocks cost seconds. Beyond the first bytes a piece
# must give a quarter of its size; what compressors write gives all of it or more.
UNCHECKED, PIECE, LEAST = 2**20, 2**16, 2**14
# Of a pixel at most, with its share of a row's filter; and of the largest picture that is decoded.
PIXEL_BYTES, MOST = 9, 2**28


def accepts(data: bytes) -> bool:
    """Is it meant to be a PNG?"""
    return data.startswith(SIGNATURE)


def read(data: bytes) -> PictureFile:
    """Walks over all chunks: what tells how the picture is turned may stand behind it."""
    view, pieces, at = memoryview(data), Pieces(len(data)), len(SIGNATURE)
    kept: list[Span] = [SIGNATURE]
    tagged: int | None = None
    packet: int | None = None
    while at + BEFORE <= len(data):
        pieces.count()
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + BEFORE + length + AFTER
        content = view[at + BEFORE : end - AFTER]
        if kind in KEPT:
            # One that breaks off is kept as it is, and the decoder says so.
            kept.append(view[at:end])
        elif kind == b"eXIf" and tagged is None:
            tagged = exif.orientation(content.tobytes())
        elif kind == b"iTXt" and packet is None and content[: len(XMP)] == XMP:
            packet = exif.orientation_in_xmp(content.tobytes())
        elif kind == b"IEND":
            kept.append(END)
            break
        at = end
    width, height = _size(kept)
    if len(data) > UNCHECKED:
        packed = b"".join(chunk[BEFORE:-AFTER] for chunk in kept if chunk[4:8] == b"IDAT")
        _check_density(packed, min(PIXEL_BYTES * width * height, MOST))
    return PictureFile("PNG", b"".join(kept), width, height, tagged or packet or 1)


def _size(chunks: list[Span]) -> tuple[int, int]:
    if len(chunks) < 2 or len(chunks[1]) < BEFORE + 13:
        raise ImageTruncated
    length, kind, width, height = struct.unpack_from(">I4sII", chunks[1])
    if kind != b"IHDR" or length != 13 or not width * height:
        raise ImageDamaged("it does not begin with a header")
    if any(chunk[4:8] == b"IHDR" for chunk in chunks[2:]):
        raise ImageDamaged("it has two headers")
    return width, height


def _check_density(packed: bytes, needed: int) -> None:
    """Refuses image data that consist of next to nothing; what is broken the decoder says."""
    inflater = zlib.decompressobj()
    for start in range(0, len(packed) - PIECE + 1, PIECE):
        given, piece = 0, packed[start : start + PIECE]
        try:
            while piece and needed > 0:
                found = len(inflater.decompress(piece, 16 * PIECE))
                given, needed = given + found, needed - found
                piece = inflater.unconsumed_tail
        except zlib.error:
            return
        # The decoder stops here too.
        if inflater.eof or needed <= 0:
            return
        if given < LEAST:
            raise ImageDamaged("its image data are empty blocks")
