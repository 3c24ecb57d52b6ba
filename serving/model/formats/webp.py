"""WebP (RIFF): the first frame is kept, with its transparency; metadata and further frames are not."""

import struct
from collections.abc import Iterator

from serving.errors import ImageDamaged, ImageTruncated
from serving.model.formats import exif, vp8l
from serving.model.formats.image_file import PictureFile, Pieces

# "RIFF", the length of what follows, "WEBP"; then chunks, each with kind and length before its data.
HEADER, BEFORE = 12, 8
EXTENDED, LOSSY, LOSSLESS, ALPHA, FRAME = b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANMF"
IMAGES = frozenset({LOSSY, LOSSLESS, FRAME})
KEPT = frozenset({EXTENDED, b"ANIM", ALPHA}) | IMAGES
# Bytes before the packed data of a lossless picture, and before the chunks of an animation's frame.
LOSSLESS_HEADER, FRAME_HEADER = 5, 16
# How transparency is stored if it is packed like a lossless picture.
PACKED = 1
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
    view, pieces = memoryview(data)[HEADER:length], Pieces(len(data))
    kept: list[memoryview] = []
    complete = False
    tagged: int | None = None
    packet: int | None = None
    for kind, chunk in _chunks(view, pieces):
        if kind in KEPT and not complete:
            kept.append(chunk)
            complete = kind in IMAGES
        elif kind == b"EXIF" and tagged is None:
            tagged = exif.orientation(chunk[BEFORE:].tobytes())
        elif kind == b"XMP " and packet is None:
            packet = exif.orientation_in_xmp(chunk[BEFORE:].tobytes())
    if not complete:
        raise ImageDamaged("it has no frame")
    width, height = _size(kept[0])
    for chunk in kept:
        _check_lossless(chunk, width, height, pieces)
    return PictureFile("WEBP", _file(kept), width, height, tagged or packet or 1)


def _chunks(view: memoryview, pieces: Pieces) -> Iterator[tuple[bytes, memoryview]]:
    """Kind and bytes of each chunk, with kind and length in front; they begin at even places."""
    at = 0
    while at + BEFORE <= len(view):
        pieces.count()
        kind, size = struct.unpack_from("<4sI", view, at)
        end = at + BEFORE + size
        if end > len(view):
            raise ImageTruncated
        yield kind, view[at : end + size % 2]
        at = end + size % 2


def _check_lossless(chunk: memoryview, width: int, height: int, pieces: Pieces) -> None:
    """Looks into what is packed without loss: a picture, or the transparency of another one."""
    kind, content = bytes(chunk[:4]), chunk[BEFORE:]
    if kind == LOSSLESS:
        vp8l.check(content[LOSSLESS_HEADER:], *_size(chunk))
    elif kind == ALPHA and content and content[0] & 3 == PACKED:
        vp8l.check(content[1:], width, height)
    elif kind == FRAME:
        width, height = (1 + int.from_bytes(content[at : at + 3], "little") for at in (6, 9))
        for _, part in _chunks(content[FRAME_HEADER:], pieces):
            _check_lossless(part, width, height, pieces)


def _file(chunks: list[memoryview]) -> bytes:
    """The chunks as a file of their own."""
    first = bytearray(chunks[0])
    if first.startswith(EXTENDED):
        first[BEFORE] &= ~DROPPED_FLAGS
    body = b"".join([b"WEBP", first, *chunks[1:]])
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _size(chunk: memoryview) -> tuple[int, int]:
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
