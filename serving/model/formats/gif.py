"""GIF 89a: palettes, transparency and the first frame are kept, comments and application data removed."""

import struct

from serving.errors import ImageDamaged, ImageTruncated
from serving.model.formats.image_file import Buffer, ElementCounter, ImageFile

# Bytes of signature, canvas size, flags, background and aspect ratio.
HEADER_BYTES = 13
EXTENSION, FRAME, GRAPHIC_CONTROL = b"!", b",", 0xF9


def matches(data: bytes) -> bool:
    """Does the file begin like a GIF?"""
    return data.startswith((b"GIF87a", b"GIF89a"))


def parse(data: bytes) -> ImageFile:
    """Walks to the first frame. Its data are not parsed: the decoder stops where the frame is full."""
    if len(data) < HEADER_BYTES:
        raise ImageTruncated
    view, counter = memoryview(data), ElementCounter(len(data))
    offset = HEADER_BYTES + _palette_bytes(data[10])
    kept: list[Buffer] = [view[:offset]]
    while (block := data[offset : offset + 1]) == EXTENSION:
        end = _end_of_sub_blocks(data, offset + 2, counter)
        if data[offset + 1] == GRAPHIC_CONTROL:
            kept.append(view[offset:end])
        offset = end
    if block == FRAME and len(data) >= offset + 10:
        kept.append(view[offset:])
        return ImageFile("GIF", b"".join(kept), *_size(data, offset))
    if offset >= len(data) or block == FRAME:
        raise ImageTruncated
    raise ImageDamaged("it has no frame")


def _palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _end_of_sub_blocks(data: bytes, offset: int, counter: ElementCounter) -> int:
    """The end of a sequence of sub-blocks. Each begins with its length; an empty one ends the sequence."""
    while offset < len(data) and (length := data[offset]):
        counter.increment()
        offset += 1 + length
    counter.increment()
    if offset >= len(data):
        raise ImageTruncated
    return offset + 1


def _size(data: bytes, frame: int) -> tuple[int, int]:
    """The size of the canvas, which decoders enlarge if the first frame does not fit."""
    width, height = struct.unpack_from("<HH", data, 6)
    left, top, frame_width, frame_height = struct.unpack_from("<HHHH", data, frame + 1)
    return max(width, left + frame_width), max(height, top + frame_height)
