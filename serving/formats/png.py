"""PNG (W3C): header, palette, transparency and image data are kept; text, profiles and more frames not."""

import struct

from serving.errors import ImageDamaged, ImageTruncated
from serving.formats import exif
from serving.formats.picture_file import PictureFile, Pieces, Span

SIGNATURE = b"\x89PNG\r\n\x1a\n"
KEPT = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT"})
# Length and kind before the data of a chunk, a checksum behind it.
BEFORE, AFTER = 8, 4
XMP = b"XML:com.adobe.xmp\0"
END = b"\0\0\0\0IEND\xaeB`\x82"


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
