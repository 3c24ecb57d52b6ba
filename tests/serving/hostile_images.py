"""Pictures that cost more than they look: any number of any piece of each format, and traps for decoders.

`filled` makes a small picture with many pieces of one kind; `BOMBS` are those whose pieces are few.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from PIL import Image

from serving.model.decoder import MAX_BYTES
from tests.serving.images import RGB, encode_image, make_png, png_chunk

# A picture with enough in it to be one.
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


# A WebP as its extended form, into which chunks can be put.
EXTENDED = (b"VP8X", struct.pack("<I", 0x0C) + (63).to_bytes(3, "little") + (47).to_bytes(3, "little"))
FRAME = (WEBP[12:16], WEBP[20 : 20 + int.from_bytes(WEBP[16:20], "little")])
# Where the first frame of a GIF begins, behind its header and palette.
AT = 13 + (3 << (GIF[10] & 7) + 1)
# A table with one code, and a block of metadata without an entry.
HUFFMAN = b"\0\1" + bytes(16)
EXIF = b"Exif\0\0II*\0\x08\0\0\0\0\0"


def in_jpeg(piece: bytes, count: int) -> bytes:
    return JPEG[:2] + piece * count + JPEG[2:]


def between_scans(piece: bytes, count: int) -> bytes:
    data = encode_image(SMALL, "JPEG", progressive=True)
    at = data.rindex(b"\xff\xda")
    return data[:at] + piece * count + data[at:]


def in_png(piece: bytes, count: int) -> bytes:
    return PNG[:33] + piece * count + PNG[33:]


def behind_png(piece: bytes, count: int) -> bytes:
    return PNG[:-12] + piece * count + PNG[-12:]


def in_gif(piece: bytes, count: int) -> bytes:
    return GIF[:AT] + piece * count + GIF[AT:]


def in_webp(piece: tuple[bytes, bytes], count: int) -> bytes:
    return riff(EXTENDED, *[piece] * count, FRAME)


def behind_webp(piece: tuple[bytes, bytes], count: int) -> bytes:
    return riff(EXTENDED, FRAME, *[piece] * count)


def behind_avif(piece: bytes, count: int) -> bytes:
    # Items are found by their place, so what is new stands at the end.
    return AVIF + piece * count


Piece = tuple[str, int, Callable[[int], bytes]]


def of_jpeg() -> Iterator[Piece]:
    """Name, bytes of each, and the picture with so many."""
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
        piece = segment(marker, content)
        yield f"jpeg, {name}", len(piece), partial(in_jpeg, piece)
    for name, piece in {
        "fill": b"\xff",
        "stuffed": b"\xff\0",
        "junk": b"\xff\0x",
        "restart": b"\xff\xd0",
    }.items():
        yield f"jpeg, {name}", len(piece), partial(in_jpeg, piece)
    for name, piece in {
        "comment": segment(0xFE, b"x"),
        "huffman": segment(0xC4, HUFFMAN),
        "stuffed": b"\xff\0",
        "restart": b"\xff\xd0",
    }.items():
        yield f"jpeg, {name} between scans", len(piece), partial(between_scans, piece)


def of_png() -> Iterator[Piece]:
    """Name, bytes of each, and the picture with so many."""
    packed = zlib.compress(bytes(1000))
    for kind, content in {
        b"tEXt": b"k\0v",
        b"zTXt": b"k\0\0" + packed,
        b"iTXt": b"XML:com.adobe.xmp\0\0\0\0\0<x/>",
        b"eXIf": EXIF[6:],
        b"iCCP": b"p\0\0" + packed,
        b"tRNS": bytes(6),
        b"PLTE": bytes(768),
        b"gAMA": bytes(4),
        b"acTL": b"\0\0\xff\xff\0\0\0\0",
        b"fcTL": bytes(26),
        b"fdAT": bytes(8),
        b"abCd": b"",
        b"IDAT": b"",
    }.items():
        piece = png_chunk(kind, content)
        yield f"png, {kind.decode()}", len(piece), partial(in_png, piece)
        yield f"png, {kind.decode()} at the end", len(piece), partial(behind_png, piece)


def of_gif() -> Iterator[Piece]:
    """Name, bytes of each, and the picture with so many."""
    for name, piece in {
        "comment": b"!\xfe\1x\0",
        "application": b"!\xff\x0bNETSCAPE2.0\3\1\0\0\0",
        "control": b"!\xf9\4\1\0\0\0\0",
        "plain text": b"!\1\1x\0",
        "unknown": b"!\0\0",
    }.items():
        yield f"gif, {name}", len(piece), partial(in_gif, piece)
    yield "gif, blocks of a comment", 2, lambda count: in_gif(b"!\xfe" + b"\1x" * count + b"\0", 1)
    yield "gif, frames", len(GIF) - AT - 1, lambda count: GIF[:-1] + GIF[AT:-1] * count + b";"


def of_webp() -> Iterator[Piece]:
    """Name, bytes of each, and the picture with so many."""
    for kind, content in {
        b"EXIF": EXIF, b"XMP ": b"<x/>", b"ICCP": b"xx", b"UNKN": b"", b"ALPH": b"\0\0", b"ANMF": bytes(16),
    }.items():  # fmt: skip
        yield f"webp, {kind.decode()}", 8 + len(content), partial(in_webp, (kind, content))
        yield f"webp, {kind.decode()} at the end", 8 + len(content), partial(behind_webp, (kind, content))


def of_avif() -> Iterator[Piece]:
    """Name, bytes of each, and the picture with so many."""
    for kind, content in {
        b"free": b"", b"uuid": bytes(16), b"meta": bytes(4), b"moov": box(b"trak"), b"mdat": b"",
    }.items():  # fmt: skip
        piece = box(kind, content)
        yield f"avif, {kind.decode()}", len(piece), partial(behind_avif, piece)


# Each kind of piece, by how many bytes it has, and the picture with so many of them.
ELEMENTS = {
    name: (width, make) for of in (of_jpeg, of_png, of_gif, of_webp, of_avif) for name, width, make in of()
}


def exif_entries(count: int) -> bytes:
    """An EXIF block whose entries all have the same 60 kB as their value."""
    entries = b"".join(struct.pack("<HHII", 0x0200 + tag, 7, 60_000, 8) for tag in range(count))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", count) + entries + bytes(4)


def separate_scans(side: int, components: int = 3) -> bytes:
    """A sequential JPEG without data, with a scan for each component: a decoder holds all coefficients."""
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
    """A progressive JPEG that repeats its last scan: a few bytes, and again work for the whole picture."""
    data = encode_image(Image.new("RGB", (side, side)), "JPEG", progressive=True, **options)
    scan = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + times * scan + data[-2:]


def empty_deflate(size: int) -> bytes:
    """So many bytes of compressed data that stand for nothing, in blocks that each bring their tables."""
    bits = Bits()
    for _ in range(8):
        for value, width in ((0, 1), (2, 2), (0, 5), (0, 5), (14, 4)):
            bits.put(value, width)
        # Of the lengths of codes only 18 (many zeros) and 1 are used.
        for length in (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1):
            bits.put(length in (18, 1), 3)
        # 256 symbols that do not occur, the end of the block, one distance, and the end.
        for value, width in ((1, 1), (127, 7), (1, 1), (107, 7), (0, 1), (0, 1), (0, 1)):
            bits.put(value, width)
    unit = bits.to_bytes()
    return b"\x78\x01" + unit * (size // len(unit))


class Bits:
    """Bits in the order of deflate and of lossless WebP: the lowest one first."""

    def __init__(self) -> None:
        self._value, self._count = 0, 0

    def put(self, value: int, width: int) -> None:
        """Adds the lowest `width` bits of a value."""
        self._value |= int(value) << self._count
        self._count += width

    def to_bytes(self) -> bytes:
        """All of them, filled up with zeros."""
        return self._value.to_bytes((self._count + 7) // 8, "little")


# The code for lengths in lossless WebP, in the order in which it is written.
LENGTHS = (17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8)


def many_tables(tiles: int) -> bytes:
    """The packed data of a lossless WebP of `tiles` x `tiles` parts, 65,536 of them with tables."""
    bits = Bits()
    # No transformation and no cache; parts of 4 pixels with tables of their own, whose picture has no cache.
    for value, width in ((0, 1), (0, 1), (1, 1), (0, 3), (0, 1)):
        bits.put(value, width)
    for size in (280, 256):
        # 256 symbols of 8 bits, and none beyond.
        for value, width in ((0, 1), (len(LENGTHS) - 4, 4)):
            bits.put(value, width)
        for length in LENGTHS:
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


def lossless(tiles: int) -> tuple[bytes, bytes]:
    """The same as a chunk with its header."""
    header = Bits()
    for value, width in ((0x2F, 8), (4 * tiles - 1, 14), (4 * tiles - 1, 14), (0, 4)):
        header.put(value, width)
    return b"VP8L", header.to_bytes() + many_tables(tiles)


def canvas(flags: int, side: int) -> tuple[bytes, bytes]:
    """The header of an extended WebP."""
    return b"VP8X", struct.pack("<I", flags) + 2 * (side - 1).to_bytes(3, "little")


def animated(png_chunk: tuple[bytes, bytes], side: int) -> bytes:
    """A WebP whose first frame is this chunk."""
    frame = bytes(6) + 2 * (side - 1).to_bytes(3, "little") + bytes(4)
    inside = riff(png_chunk)[12:]
    return riff(canvas(2, side), (b"ANIM", bytes(6)), (b"ANMF", frame + inside))


def transparent(tiles: int) -> bytes:
    """A lossy WebP whose transparency has that many tables."""
    opaque = encode_image(Image.new("RGB", (4 * tiles, 4 * tiles)), "WEBP")
    return riff(canvas(0x10, 4 * tiles), (b"ALPH", b"\1" + many_tables(tiles)), (b"VP8 ", opaque[20:]))


def large_video(side: int) -> bytes:
    """An AVIF whose video states another size than its container: `side` instead of 64 pixels."""
    bits = 0
    for value, width in ((0, 3), (1, 1), (1, 1), (0, 5), (15, 4), (15, 4), (side - 1, 16), (side - 1, 16)):
        bits = bits << width | value
    header = (bits << 6).to_bytes(8, "big")
    at = AVIF.index(b"\x0a", AVIF.index(b"mdat"))
    length = AVIF[at + 1]
    return AVIF[: at + 2] + header.ljust(length, b"\0")[:length] + AVIF[at + 2 + length :]


def run_lengths(side: int, size: int) -> bytes:
    """A BMP of run lengths, each of which stands for one pixel."""
    header = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, size, 0, 0, 256, 0)
    palette = bytes(range(256)) * 4
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 54 + 1024) + header + palette + b"\1\7" * (size // 2)


def bombs() -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Name, and the picture when its turn comes."""
    yield "jpeg, separate scans, 200 megapixels", lambda: separate_scans(14_100)
    yield "jpeg, separate scans, 25 megapixels in CMYK", lambda: separate_scans(4999, 4)
    yield "jpeg, 40 scans of 25 megapixels", lambda: repeat_last_scan(4999, 29, subsampling=0)
    yield "jpeg, 100 scans of 10 megapixels", lambda: repeat_last_scan(3160, 89, subsampling=0)
    yield "jpeg, 196 megapixels", lambda: encode_image(Image.new("CMYK", (14_000, 14_000)), "JPEG")
    yield "jpeg, entries of exif", lambda: in_jpeg(segment(0xE1, EXIF[:6] + exif_entries(5000)), 1)
    yield "png, entries of exif", lambda: in_png(png_chunk(b"eXIf", exif_entries(60_000)), 1)
    yield "webp, entries of exif", lambda: riff(EXTENDED, FRAME, (b"EXIF", exif_entries(60_000)))
    empty = png_chunk(b"IDAT", empty_deflate(MAX_BYTES - 100))
    yield "png, empty blocks of deflate", lambda: PNG[:33] + empty
    yield "png, image data beyond its rows", lambda: make_png(64, 64, 8, RGB, bytes(2**28))
    yield "png, rows of 200,000 pixels", lambda: make_png(200_000, 100, 8, RGB, bytes(600_001 * 100))
    yield "gif, a canvas of 4 gigapixels", lambda: GIF[:6] + b"\xff" * 4 + GIF[10:]
    yield "gif, a frame outside of its canvas", lambda: GIF[: AT + 1] + b"\xff" * 4 + GIF[AT + 5 :]
    yield "webp, a canvas of 268 megapixels", lambda: riff(canvas(2, 2**14), FRAME)
    yield "webp, 65,536 tables", lambda: riff(lossless(256))
    yield "webp, 65,536 tables in a frame", lambda: animated(lossless(256), 1024)
    yield "webp, 65,536 tables of transparency", lambda: transparent(256)
    yield "avif, video of 4 gigapixels", lambda: large_video(65_536)
    yield "bmp, run lengths of 16 MB", lambda: run_lengths(4000, 16_000_000)
    yield "bmp, run lengths of 250 kB", lambda: run_lengths(1000, 250_000)


BOMBS = dict(bombs())


def repeat_element(name: str, size: int) -> bytes:
    """A picture with as many pieces of a kind as make so many bytes."""
    width, make = ELEMENTS[name]
    return make(size // width)
