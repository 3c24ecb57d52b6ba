"""Pictures as people send them, made on the spot: a corpus in every accepted format, and PNGs by hand."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pillow_heif
from PIL import Image

pillow_heif.register_heif_opener()

# Where Adam7 puts the pixels of its seven passes: first column and row, step of columns and rows.
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
GREY, RGB = 0, 2


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:  # noqa: ANN401  (Pillow's own)
    """The bytes of an image file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def halves(left: Any, right: Any, mode: str = "RGB") -> Image.Image:  # noqa: ANN401  (a colour of that mode)
    """32 x 32 pixels of two colours, one beside the other."""
    image = Image.new(mode, (32, 32), left)
    image.paste(right, (16, 0, 32, 32))
    return image


def png(width: int, height: int, depth: int, colour: int, rows: bytes, passes: int = 0) -> bytes:
    """A PNG from its filtered rows; `passes` is 1 for Adam7."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, passes)
    data = chunk(b"IDAT", zlib.compress(rows, 9))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def interlaced(image: Image.Image) -> bytes:
    """An RGB picture as an Adam7 PNG, which Pillow reads and does not write."""
    pixels = np.asarray(image)
    rows = b"".join(filtered(pixels[top::down, left::right]) for left, top, right, down in ADAM7)
    return png(*image.size, 8, RGB, rows, passes=1)


def filtered(pixels: npt.NDArray[Any]) -> bytes:
    """Rows of a PNG, each with filter 0 (none)."""
    return b"".join(b"\0" + row.tobytes() for row in pixels)


def bilevel(side: int) -> bytes:
    """A black PNG of `side` x `side` pixels and 1 bit: 1 kB of file for every 8 MB that it fills decoded."""
    return png(side, side, 1, GREY, bytes((1 + (side + 7) // 8) * side))


RED, BLUE, WHITE, BLACK = (255, 0, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)
PHOTO, SWAPPED = halves(RED, BLUE), halves(BLUE, RED)
# What stays of red and blue without colour (ITU-R 601).
LUMA = (76, 76, 76), (29, 29, 29)
MORE: dict[str, Any] = {"save_all": True, "append_images": [SWAPPED], "duration": 100}
# 16 bits: 40,000 of 65,535 is 155 of 255.
DEEP = np.repeat(np.array([[40_000] * 16 + [0] * 16], dtype=np.uint16), 32, axis=0)

Colour = tuple[int, int, int]
# File, and the colours of its left and right half.
CORPUS: dict[str, tuple[bytes, tuple[Colour, Colour]]] = {
    "jpeg": (encoded(PHOTO, "JPEG", quality=95), (RED, BLUE)),
    "jpeg progressive": (encoded(PHOTO, "JPEG", quality=95, progressive=True), (RED, BLUE)),
    "jpeg cmyk": (encoded(PHOTO.convert("CMYK"), "JPEG", quality=95), (RED, BLUE)),
    "jpeg grey": (encoded(PHOTO.convert("L"), "JPEG", quality=95), LUMA),
    "mpo": (encoded(PHOTO, "MPO", quality=95, **MORE), (RED, BLUE)),
    "png": (encoded(PHOTO, "PNG"), (RED, BLUE)),
    "png palette": (encoded(PHOTO.quantize(4), "PNG"), (RED, BLUE)),
    "png palette transparent": (encoded(halves(0, 1, "P"), "PNG", transparency=0), (WHITE, (1, 1, 1))),
    "png grey": (encoded(PHOTO.convert("L"), "PNG"), LUMA),
    "png grey transparent": (encoded(halves(76, 29, "L"), "PNG", transparency=76), (WHITE, LUMA[1])),
    "png 1 bit": (encoded(halves(1, 0, "1"), "PNG"), (WHITE, BLACK)),
    "png 16 bit grey": (encoded(Image.fromarray(DEEP), "PNG"), ((155, 155, 155), BLACK)),
    "png 16 bit": (
        png(32, 32, 16, RGB, filtered(257 * np.asarray(PHOTO, dtype=">u2"))),
        (RED, BLUE),
    ),
    "png rgba": (encoded(halves((*RED, 0), (*BLUE, 255), "RGBA"), "PNG"), (WHITE, BLUE)),
    "png half transparent": (encoded(halves((*RED, 128), BLUE, "RGBA"), "PNG"), ((255, 127, 127), BLUE)),
    "png grey alpha": (encoded(halves((76, 0), (29, 255), "LA"), "PNG"), (WHITE, LUMA[1])),
    "png interlaced": (interlaced(PHOTO), (RED, BLUE)),
    "webp": (encoded(PHOTO, "WEBP", quality=95), (RED, BLUE)),
    "webp lossless": (encoded(PHOTO, "WEBP", lossless=True), (RED, BLUE)),
    "webp rgba": (encoded(halves((*RED, 0), BLUE, "RGBA"), "WEBP", lossless=True, exact=True), (WHITE, BLUE)),
    "webp animated": (encoded(PHOTO, "WEBP", lossless=True, **MORE), (RED, BLUE)),
    "gif": (encoded(PHOTO, "GIF"), (RED, BLUE)),
    "gif transparent": (encoded(PHOTO.quantize(2), "GIF", transparency=0), (WHITE, BLUE)),
    "gif animated": (encoded(PHOTO, "GIF", **MORE), (RED, BLUE)),
    "avif": (encoded(PHOTO, "AVIF", quality=95), (RED, BLUE)),
    "avif rgba": (encoded(halves((*RED, 0), BLUE, "RGBA"), "AVIF", quality=100), (WHITE, BLUE)),
    "avif animated": (encoded(PHOTO, "AVIF", quality=95, **MORE), (RED, BLUE)),
    "heic": (encoded(PHOTO, "HEIF", quality=95), (RED, BLUE)),
    "heic rgba": (encoded(halves((*RED, 0), BLUE, "RGBA"), "HEIF", quality=-1), (WHITE, BLUE)),
    "heic several": (encoded(PHOTO, "HEIF", quality=95, **MORE), (RED, BLUE)),
    "bmp": (encoded(PHOTO, "BMP"), (RED, BLUE)),
    "bmp palette": (encoded(PHOTO.quantize(4), "BMP"), (RED, BLUE)),
    "bmp 1 bit": (encoded(halves(1, 0, "1"), "BMP"), (WHITE, BLACK)),
}
