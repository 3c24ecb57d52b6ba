"""GIF 89a: palettes, transparency and the first frame are kept; comments and application data are not."""

import struct

from serving.errors import ImageDamaged, ImageTruncated
from serving.model.formats.image_file import PictureFile, Pieces, Span

# Signature, size of the canvas, flags, background, aspect ratio.
HEADER = 13
EXTENSION, FRAME, CONTROL = b"!", b",", 0xF9


def accepts(data: bytes) -> bool:
    """Is it meant to be a GIF?"""
    return data.startswith((b"GIF87a", b"GIF89a"))


def read(data: bytes) -> PictureFile:
    """Walks to the first frame, and leaves its data to the decoder, which stops where the frame is full."""
    if len(data) < HEADER:
        raise ImageTruncated
    view, pieces = memoryview(data), Pieces(len(data))
    at = HEADER + _palette(data[10])
    kept: list[Span] = [view[:at]]
    while (kind := data[at : at + 1]) == EXTENSION:
        end = _end_of_blocks(data, at + 2, pieces)
        if data[at + 1] == CONTROL:
            kept.append(view[at:end])
        at = end
    if kind == FRAME and len(data) >= at + 10:
        kept.append(view[at:])
        return PictureFile("GIF", b"".join(kept), *_size(data, at))
    if at >= len(data) or kind == FRAME:
        raise ImageTruncated
    raise ImageDamaged("it has no frame")


def _palette(flags: int) -> int:
    """Bytes of a palette, by the flags before it."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _end_of_blocks(data: bytes, at: int, pieces: Pieces) -> int:
    """Where a row of blocks ends, each of which begins with its length; the last one is empty."""
    while at < len(data) and (length := data[at]):
        pieces.count()
        at += 1 + length
    pieces.count()
    if at >= len(data):
        raise ImageTruncated
    return at + 1


def _size(data: bytes, at: int) -> tuple[int, int]:
    """Of the canvas, which grows if the first frame does not fit."""
    width, height = struct.unpack_from("<HH", data, 6)
    left, top, across, down = struct.unpack_from("<HHHH", data, at + 1)
    return max(width, left + across), max(height, top + down)
