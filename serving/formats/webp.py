"""WebP (RIFF): the first frame is kept, with its transparency; metadata and further frames are not."""

import struct

from serving.errors import ImageDamaged, ImageTruncated
from serving.formats import exif
from serving.formats.picture_file import PictureFile, Pieces, Span

# "RIFF", the length of what follows, "WEBP"; then chunks, each with kind and length before its data.
HEADER, BEFORE = 12, 8
EXTENDED, LOSSY, LOSSLESS, FRAME = b"VP8X", b"VP8 ", b"VP8L", b"ANMF"
IMAGES = frozenset({LOSSY, LOSSLESS, FRAME})
KEPT = frozenset({EXTENDED, b"ANIM", b"ALPH"}) | IMAGES
# The flags of the extended header for colour profile, EXIF and XMP.
DROPPED_FLAGS = 0x20 | 0x08 | 0x04


def accepts(data: bytes) -> bool:
    """Is it meant to be a WebP?"""
    return data[:4] == b"RIFF" and data[8:HEADER] == b"WEBP"


def read(data: bytes) -> PictureFile:
    """Walks over all chunks: what tells how the picture is turned stands behind it."""
    length = 8 + int.from_bytes(data[4:8], "little")
    if length > len(data):
        raise ImageTruncated
    view, pieces, at = memoryview(data)[:length], Pieces(len(data)), HEADER
    kept: list[Span] = []
    complete = False
    tagged: int | None = None
    packet: int | None = None
    while at + BEFORE <= length:
        pieces.count()
        kind, size = struct.unpack_from("<4sI", view, at)
        # Chunks begin at even places.
        end = at + BEFORE + size + size % 2
        if at + BEFORE + size > length:
            raise ImageTruncated
        if kind in KEPT and not complete:
            kept.append(view[at:end])
            complete = kind in IMAGES
        elif kind == b"EXIF" and tagged is None:
            tagged = exif.orientation(view[at + BEFORE : end].tobytes())
        elif kind == b"XMP " and packet is None:
            packet = exif.orientation_in_xmp(view[at + BEFORE : end].tobytes())
        at = end
    if not complete:
        raise ImageDamaged("it has no frame")
    width, height = _size(kept[0])
    return PictureFile("WEBP", _file(kept), width, height, tagged or packet or 1)


def _file(chunks: list[Span]) -> bytes:
    """The chunks as a file of their own."""
    if chunks[0][:4] == EXTENDED:
        header = bytearray(chunks[0])
        header[BEFORE] &= ~DROPPED_FLAGS
        chunks[0] = bytes(header)
    body = b"".join([b"WEBP", *chunks])
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _size(chunk: Span) -> tuple[int, int]:
    """Width and height by the first chunk, of whichever kind it is."""
    # Bytes that are missing make a picture without pixels, which is too small.
    kind, content = bytes(chunk[:4]), bytes(chunk[BEFORE : BEFORE + 10]).ljust(10, b"\0")
    if kind == EXTENDED:
        return 1 + int.from_bytes(content[4:7], "little"), 1 + int.from_bytes(content[7:10], "little")
    if kind == LOSSY:
        width, height = struct.unpack_from("<HH", content, 6)
        return width & 0x3FFF, height & 0x3FFF
    if kind == LOSSLESS:
        bits = int.from_bytes(content[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    raise ImageDamaged("it does not begin with a frame or a header")
