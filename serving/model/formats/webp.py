"""WebP (RIFF): the first frame is kept with its transparency, metadata and further frames removed."""

import struct
from collections.abc import Iterator

from serving.errors import ImageDamaged, ImageTruncated
from serving.model.formats import exif, vp8l
from serving.model.formats.image_file import ElementCounter, ImageFile

# Bytes of the file header ("RIFF", length, "WEBP") and of a chunk before its data (type and length).
HEADER_BYTES, CHUNK_HEADER = 12, 8
EXTENDED, LOSSY, LOSSLESS, ALPHA, FRAME = b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANMF"
IMAGE_CHUNKS = frozenset({LOSSY, LOSSLESS, FRAME})
KEPT_CHUNKS = frozenset({EXTENDED, b"ANIM", ALPHA}) | IMAGE_CHUNKS
# Bytes before the compressed data of a lossless image, and before the chunks of an animation's frame.
LOSSLESS_HEADER, FRAME_HEADER = 5, 16
# Compression method of an ALPH chunk that is stored like a lossless image.
LOSSLESS_ALPHA = 1
# Flags of the extended header for colour profile, EXIF and XMP, which are removed.
DROPPED_FLAGS = 0x20 | 0x08 | 0x04


def matches(data: bytes) -> bool:
    """Does the file begin like a WebP?"""
    return data[:4] == b"RIFF" and data[8:HEADER_BYTES] == b"WEBP"


def parse(data: bytes) -> ImageFile:
    """Walks over all chunks, because the orientation comes after the image data."""
    length = 8 + int.from_bytes(data[4:8], "little")
    if length > len(data):
        raise ImageTruncated
    view, counter = memoryview(data)[HEADER_BYTES:length], ElementCounter(len(data))
    kept: list[memoryview] = []
    complete = False
    exif_orientation: int | None = None
    xmp_orientation: int | None = None
    for kind, chunk in _chunks(view, counter):
        if kind in KEPT_CHUNKS and not complete:
            kept.append(chunk)
            complete = kind in IMAGE_CHUNKS
        elif kind == b"EXIF" and exif_orientation is None:
            exif_orientation = exif.orientation(chunk[CHUNK_HEADER:].tobytes())
        elif kind == b"XMP " and xmp_orientation is None:
            xmp_orientation = exif.orientation_in_xmp(chunk[CHUNK_HEADER:].tobytes())
    if not complete:
        raise ImageDamaged("it has no frame")
    width, height = _size(kept[0])
    for chunk in kept:
        _check_lossless(chunk, width, height, counter)
    return ImageFile("WEBP", _to_riff(kept), width, height, exif_orientation or xmp_orientation or 1)


def _chunks(view: memoryview, counter: ElementCounter) -> Iterator[tuple[bytes, memoryview]]:
    """Type and bytes of each chunk, including its header. Chunks begin at even offsets."""
    offset = 0
    while offset + CHUNK_HEADER <= len(view):
        counter.increment()
        kind, size = struct.unpack_from("<4sI", view, offset)
        end = offset + CHUNK_HEADER + size
        if end > len(view):
            raise ImageTruncated
        yield kind, view[offset : end + size % 2]
        offset = end + size % 2


def _check_lossless(chunk: memoryview, width: int, height: int, counter: ElementCounter) -> None:
    """Checks lossless data: those of an image, of an alpha channel, or of the chunks in a frame."""
    kind, content = bytes(chunk[:4]), chunk[CHUNK_HEADER:]
    if kind == LOSSLESS:
        vp8l.check(content[LOSSLESS_HEADER:], *_size(chunk))
    elif kind == ALPHA and content and content[0] & 3 == LOSSLESS_ALPHA:
        vp8l.check(content[1:], width, height)
    elif kind == FRAME:
        width, height = (1 + int.from_bytes(content[start : start + 3], "little") for start in (6, 9))
        for _, inner in _chunks(content[FRAME_HEADER:], counter):
            _check_lossless(inner, width, height, counter)


def _to_riff(chunks: list[memoryview]) -> bytes:
    """A WebP file of these chunks."""
    first = bytearray(chunks[0])
    if first.startswith(EXTENDED):
        first[CHUNK_HEADER] &= ~DROPPED_FLAGS
    body = b"".join([b"WEBP", first, *chunks[1:]])
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _size(chunk: memoryview) -> tuple[int, int]:
    """Width and height from the first chunk, by its type."""
    # Missing bytes become zeros, and an image of zero pixels is refused as too small.
    kind, content = bytes(chunk[:4]), bytes(chunk[CHUNK_HEADER : CHUNK_HEADER + 10]).ljust(10, b"\0")
    if kind == EXTENDED:
        return 1 + int.from_bytes(content[4:7], "little"), 1 + int.from_bytes(content[7:10], "little")
    if kind == LOSSY:
        width, height = struct.unpack_from("<HH", content, 6)
        return width & 0x3FFF, height & 0x3FFF
    if kind == LOSSLESS:
        bits = int.from_bytes(content[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    raise ImageDamaged("it does not begin with a frame or a header")
