"""Images that are expensive to decode for their size.

`repeat_element` makes a small image with many elements of one kind. `BOMBS` are expensive with few elements.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from PIL import Image

from serving.model.decoder import MAX_BYTES
from tests.serving.images import RGB, encode_image, make_png, png_chunk

# The image that elements are inserted into.
SMALL = Image.new("RGB", (64, 48), "red")
JPEG, PNG, WEBP = (encode_image(SMALL, kind) for kind in ("JPEG", "PNG", "WEBP"))
GIF, BMP, AVIF = (encode_image(SMALL, kind) for kind in ("GIF", "BMP", "AVIF"))


def segment(marker: int, content: bytes) -> bytes:
    """One segment of a JPEG."""
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    """A WebP of these chunks."""
    body = b"".join(
        kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for kind, data in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def box(kind: bytes, content: bytes = b"") -> bytes:
    """One box of an AVIF."""
    return struct.pack(">I", len(content) + 8) + kind + content


# The chunks of a WebP in its extended format, which may hold further chunks.
EXTENDED = (b"VP8X", struct.pack("<I", 0x0C) + (63).to_bytes(3, "little") + (47).to_bytes(3, "little"))
FRAME = (WEBP[12:16], WEBP[20 : 20 + int.from_bytes(WEBP[16:20], "little")])
# The offset of a GIF's first frame, behind header and palette.
GIF_FRAME = 13 + (3 << (GIF[10] & 7) + 1)
# A Huffman table with one code, and an EXIF block without entries.
HUFFMAN = b"\0\1" + bytes(16)
EXIF = b"Exif\0\0II*\0\x08\0\0\0\0\0"


def insert_in_jpeg(element: bytes, count: int) -> bytes:
    return JPEG[:2] + element * count + JPEG[2:]


def insert_between_scans(element: bytes, count: int) -> bytes:
    data = encode_image(SMALL, "JPEG", progressive=True)
    last_scan = data.rindex(b"\xff\xda")
    return data[:last_scan] + element * count + data[last_scan:]


def insert_in_png(element: bytes, count: int) -> bytes:
    return PNG[:33] + element * count + PNG[33:]


def append_to_png(element: bytes, count: int) -> bytes:
    return PNG[:-12] + element * count + PNG[-12:]


def insert_in_gif(element: bytes, count: int) -> bytes:
    return GIF[:GIF_FRAME] + element * count + GIF[GIF_FRAME:]


def insert_in_webp(element: tuple[bytes, bytes], count: int) -> bytes:
    return riff(EXTENDED, *[element] * count, FRAME)


def append_to_webp(element: tuple[bytes, bytes], count: int) -> bytes:
    return riff(EXTENDED, FRAME, *[element] * count)


def append_to_avif(element: bytes, count: int) -> bytes:
    # Items are referenced by their file offsets, so new boxes can only be appended.
    return AVIF + element * count


Element = tuple[str, int, Callable[[int], bytes]]


def jpeg_elements() -> Iterator[Element]:
    """The name of an element, its size in bytes, and a function that makes an image with `count` of them."""
    for name, marker, content in (
        ("exif", 0xE1, EXIF),
        ("xmp", 0xE1, b"http://ns.adobe.com/xap/1.0/\0<x/>"),
        ("profile", 0xE2, b"ICC_PROFILE\0\1\1"),
        ("jfif", 0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0"),
        ("adobe", 0xEE, b"Adobe\0\x64\0\0\0\0\0"),
        ("photoshop", 0xED, b"Photoshop 3.0\0" + b"8BIM\4\4\0\0\0\0\0\0" * 8),
        ("multiple pictures", 0xE2, b"MPF\0II*\0"),
        ("comment", 0xFE, b"x"),
        ("empty comment", 0xFE, b""),
        ("quantization", 0xDB, b"\0" + bytes([1]) * 64),
        ("huffman", 0xC4, HUFFMAN),
        ("restart interval", 0xDD, b"\0\0"),
    ):
        element = segment(marker, content)
        yield f"jpeg, {name}", len(element), partial(insert_in_jpeg, element)
    for name, element in {
        "fill": b"\xff",
        "stuffed": b"\xff\0",
        "junk": b"\xff\0x",
        "restart": b"\xff\xd0",
    }.items():
        yield f"jpeg, {name}", len(element), partial(insert_in_jpeg, element)
    for name, element in {
        "comment": segment(0xFE, b"x"),
        "huffman": segment(0xC4, HUFFMAN),
        "stuffed": b"\xff\0",
        "restart": b"\xff\xd0",
    }.items():
        yield f"jpeg, {name} between scans", len(element), partial(insert_between_scans, element)


def png_elements() -> Iterator[Element]:
    """The name of an element, its size in bytes, and a function that makes an image with `count` of them."""
    compressed = zlib.compress(bytes(1000))
    for kind, content in {
        b"tEXt": b"k\0v",
        b"zTXt": b"k\0\0" + compressed,
        b"iTXt": b"XML:com.adobe.xmp\0\0\0\0\0<x/>",
        b"eXIf": EXIF[6:],
        b"iCCP": b"p\0\0" + compressed,
        b"tRNS": bytes(6),
        b"PLTE": bytes(768),
        b"gAMA": bytes(4),
        b"acTL": b"\0\0\xff\xff\0\0\0\0",
        b"fcTL": bytes(26),
        b"fdAT": bytes(8),
        b"abCd": b"",
        b"IDAT": b"",
    }.items():
        element = png_chunk(kind, content)
        yield f"png, {kind.decode()}", len(element), partial(insert_in_png, element)
        yield f"png, {kind.decode()} at the end", len(element), partial(append_to_png, element)


def gif_elements() -> Iterator[Element]:
    """The name of an element, its size in bytes, and a function that makes an image with `count` of them."""
    for name, element in {
        "comment": b"!\xfe\1x\0",
        "application": b"!\xff\x0bNETSCAPE2.0\3\1\0\0\0",
        "control": b"!\xf9\4\1\0\0\0\0",
        "plain text": b"!\1\1x\0",
        "unknown": b"!\0\0",
    }.items():
        yield f"gif, {name}", len(element), partial(insert_in_gif, element)
    yield "gif, blocks of a comment", 2, lambda count: insert_in_gif(b"!\xfe" + b"\1x" * count + b"\0", 1)
    yield "gif, frames", len(GIF) - GIF_FRAME - 1, lambda count: GIF[:-1] + GIF[GIF_FRAME:-1] * count + b";"


def webp_elements() -> Iterator[Element]:
    """The name of an element, its size in bytes, and a function that makes an image with `count` of them."""
    for kind, content in {
        b"EXIF": EXIF, b"XMP ": b"<x/>", b"ICCP": b"xx", b"UNKN": b"", b"ALPH": b"\0\0", b"ANMF": bytes(16),
    }.items():  # fmt: skip
        yield f"webp, {kind.decode()}", 8 + len(content), partial(insert_in_webp, (kind, content))
        yield f"webp, {kind.decode()} at the end", 8 + len(content), partial(append_to_webp, (kind, content))


def avif_elements() -> Iterator[Element]:
    """The name of an element, its size in bytes, and a function that makes an image with `count` of them."""
    for kind, content in {
        b"free": b"", b"uuid": bytes(16), b"meta": bytes(4), b"moov": box(b"trak"), b"mdat": b"",
    }.items():  # fmt: skip
        element = box(kind, content)
        yield f"avif, {kind.decode()}", len(element), partial(append_to_avif, element)


# By name: the size of an element, and a function that makes an image with `count` of them.
ELEMENTS = {
    name: (size, make)
    for elements in (jpeg_elements, png_elements, gif_elements, webp_elements, avif_elements)
    for name, size, make in elements()
}


def exif_with_entries(count: int) -> bytes:
    """An EXIF block whose entries all refer to the same 60 kB as their value."""
    entries = b"".join(struct.pack("<HHII", 0x0200 + tag, 7, 60_000, 8) for tag in range(count))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", count) + entries + bytes(4)


def separate_scans(side: int, components: int = 3) -> bytes:
    """A sequential JPEG without data, with one scan per component: decoders hold all its coefficients."""
    ids = [bytes([number + 1]) for number in range(components)]
    frame = struct.pack(">BHHB", 8, side, side, components) + b"".join(i + b"\x11\0" for i in ids)
    parts = [
        segment(0xDB, b"\0" + bytes([1]) * 64),
        segment(0xC0, frame),
        segment(0xC4, HUFFMAN),
        segment(0xC4, b"\x10" + HUFFMAN[1:]),
        *(segment(0xDA, b"\1" + i + b"\0\0\x3f\0") for i in ids),
    ]
    return b"\xff\xd8" + b"".join(parts) + b"\xff\xd9"


def repeat_last_scan(side: int, times: int, **options: Any) -> bytes:  # noqa: ANN401  (Pillow's own)
    """A progressive JPEG that repeats its last scan: a few bytes, which take time for all pixels."""
    data = encode_image(Image.new("RGB", (side, side)), "JPEG", progressive=True, **options)
    scan = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + times * scan + data[-2:]


def empty_deflate(size: int) -> bytes:
    """`size` bytes of Deflate data that inflate to nothing: empty blocks with Huffman tables of their own."""
    bits = BitWriter()
    for _ in range(8):
        for value, width in ((0, 1), (2, 2), (0, 5), (0, 5), (14, 4)):
            bits.put(value, width)
        # Of the code length symbols only 18 (a run of zeros) and 1 are used.
        for length in (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1):
            bits.put(length in (18, 1), 3)
        # 256 unused symbols, the end-of-block symbol, one distance, and the end of the block.
        for value, width in ((1, 1), (127, 7), (1, 1), (107, 7), (0, 1), (0, 1), (0, 1)):
            bits.put(value, width)
    unit = bits.to_bytes()
    return b"\x78\x01" + unit * (size // len(unit))


class BitWriter:
    """Writes bits in the order of Deflate and of lossless WebP: the lowest one first."""

    def __init__(self) -> None:
        self._value, self._count = 0, 0

    def put(self, value: int, width: int) -> None:
        """Appends the lowest `width` bits of a value."""
        self._value |= int(value) << self._count
        self._count += width

    def to_bytes(self) -> bytes:
        """All bits, padded with zeros."""
        return self._value.to_bytes((self._count + 7) // 8, "little")


# The order of code lengths in lossless WebP.
CODE_LENGTH_ORDER = (17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8)


def vp8l_with_many_tables(tiles: int) -> bytes:
    """The bit stream of a lossless WebP of `tiles` x `tiles` tiles, 65,536 of them with tables."""
    bits = BitWriter()
    # No transform and no colour cache; tiles of 4 pixels with own tables, whose index image has no cache.
    for value, width in ((0, 1), (0, 1), (1, 1), (0, 3), (0, 1)):
        bits.put(value, width)
    for size in (280, 256):
        # 256 symbols of 8 bits, the others unused.
        for value, width in ((0, 1), (len(CODE_LENGTH_ORDER) - 4, 4)):
            bits.put(value, width)
        for length in CODE_LENGTH_ORDER:
            bits.put(length in (8, 18), 3)
        bits.put(0, 1)
        bits.put(0, 256)
        if size > 256:
            bits.put(1, 1)
            bits.put(size - 256 - 11, 7)
    # Blue, alpha and distance have one symbol.
    bits.put(0b000100010001, 12)
    for number in range(tiles * tiles):
        for byte in (min(number, 65_535) & 255, min(number, 65_535) >> 8):
            bits.put(int(f"{byte:08b}"[::-1], 2), 8)
    # Five tables of one symbol each.
    for _ in range(65_536):
        bits.put(0b00010001000100010001, 20)
    return bits.to_bytes() + bytes(16)


def vp8l_chunk(tiles: int) -> tuple[bytes, bytes]:
    """The same as a VP8L chunk with its header."""
    header = BitWriter()
    for value, width in ((0x2F, 8), (4 * tiles - 1, 14), (4 * tiles - 1, 14), (0, 4)):
        header.put(value, width)
    return b"VP8L", header.to_bytes() + vp8l_with_many_tables(tiles)


def vp8x_chunk(flags: int, side: int) -> tuple[bytes, bytes]:
    """The header of an extended WebP."""
    return b"VP8X", struct.pack("<I", flags) + 2 * (side - 1).to_bytes(3, "little")


def animated_webp(chunk: tuple[bytes, bytes], side: int) -> bytes:
    """An animated WebP whose first frame is this chunk."""
    frame = bytes(6) + 2 * (side - 1).to_bytes(3, "little") + bytes(4)
    frame_chunks = riff(chunk)[12:]
    return riff(vp8x_chunk(2, side), (b"ANIM", bytes(6)), (b"ANMF", frame + frame_chunks))


def webp_with_alpha_tables(tiles: int) -> bytes:
    """A lossy WebP whose alpha channel has that many tables."""
    opaque = encode_image(Image.new("RGB", (4 * tiles, 4 * tiles)), "WEBP")
    return riff(
        vp8x_chunk(0x10, 4 * tiles), (b"ALPH", b"\1" + vp8l_with_many_tables(tiles)), (b"VP8 ", opaque[20:])
    )


def oversized_video_avif(side: int) -> bytes:
    """An AVIF whose sequence header declares `side` pixels where the container declares 64."""
    bits = 0
    for value, width in ((0, 3), (1, 1), (1, 1), (0, 5), (15, 4), (15, 4), (side - 1, 16), (side - 1, 16)):
        bits = bits << width | value
    header = (bits << 6).to_bytes(8, "big")
    at = AVIF.index(b"\x0a", AVIF.index(b"mdat"))
    length = AVIF[at + 1]
    return AVIF[: at + 2] + header.ljust(length, b"\0")[:length] + AVIF[at + 2 + length :]


def run_length_bmp(side: int, size: int) -> bytes:
    """A BMP with run-length encoding, each run of one pixel."""
    header = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, size, 0, 0, 256, 0)
    palette = bytes(range(256)) * 4
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 54 + 1024) + header + palette + b"\1\7" * (size // 2)


def make_bombs() -> Iterator[tuple[str, Callable[[], bytes]]]:
    """The name of an image, and a function that makes it."""
    yield "jpeg, separate scans, 200 megapixels", lambda: separate_scans(14_100)
    yield "jpeg, separate scans, 25 megapixels in CMYK", lambda: separate_scans(4999, 4)
    yield "jpeg, 40 scans of 25 megapixels", lambda: repeat_last_scan(4999, 29, subsampling=0)
    yield "jpeg, 100 scans of 10 megapixels", lambda: repeat_last_scan(3160, 89, subsampling=0)
    yield "jpeg, 196 megapixels", lambda: encode_image(Image.new("CMYK", (14_000, 14_000)), "JPEG")
    yield (
        "jpeg, entries of exif",
        lambda: insert_in_jpeg(segment(0xE1, EXIF[:6] + exif_with_entries(5000)), 1),
    )
    yield "png, entries of exif", lambda: insert_in_png(png_chunk(b"eXIf", exif_with_entries(60_000)), 1)
    yield "webp, entries of exif", lambda: riff(EXTENDED, FRAME, (b"EXIF", exif_with_entries(60_000)))
    empty = png_chunk(b"IDAT", empty_deflate(MAX_BYTES - 100))
    yield "png, empty blocks of deflate", lambda: PNG[:33] + empty
    yield "png, image data beyond its rows", lambda: make_png(64, 64, 8, RGB, bytes(2**28))
    yield "png, rows of 200,000 pixels", lambda: make_png(200_000, 100, 8, RGB, bytes(600_001 * 100))
    yield "gif, a canvas of 4 gigapixels", lambda: GIF[:6] + b"\xff" * 4 + GIF[10:]
    yield (
        "gif, a frame outside of its canvas",
        lambda: GIF[: GIF_FRAME + 1] + b"\xff" * 4 + GIF[GIF_FRAME + 5 :],
    )
    yield "webp, a canvas of 268 megapixels", lambda: riff(vp8x_chunk(2, 2**14), FRAME)
    yield "webp, 65,536 tables", lambda: riff(vp8l_chunk(256))
    yield "webp, 65,536 tables in a frame", lambda: animated_webp(vp8l_chunk(256), 1024)
    yield "webp, 65,536 tables of transparency", lambda: webp_with_alpha_tables(256)
    yield "avif, video of 4 gigapixels", lambda: oversized_video_avif(65_536)
    yield "bmp, run lengths of 16 MB", lambda: run_length_bmp(4000, 16_000_000)
    yield "bmp, run lengths of 250 kB", lambda: run_length_bmp(1000, 250_000)


BOMBS = dict(make_bombs())


def repeat_element(name: str, size: int) -> bytes:
    """An image with elements of one kind that fill `size` bytes."""
    element_size, make = ELEMENTS[name]
    return make(size // element_size)
