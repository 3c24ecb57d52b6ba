"""Valid images for tests: a corpus of all accepted formats, and PNGs that Pillow cannot write."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pillow_heif
from PIL import Image

pillow_heif.register_heif_opener()

# The seven passes of Adam7 interlacing: first column and row, step of columns and rows.
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
GREY, RGB = 0, 2


def encode_image(image: Image.Image, kind: str, **options: Any) -> bytes:  # noqa: ANN401  (Pillow's own)
    """The bytes of an image file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def two_colours(left: Any, right: Any, mode: str = "RGB") -> Image.Image:  # noqa: ANN401  (a colour of that mode)
    """32 x 32 pixels: the left half in one colour, the right half in another."""
    image = Image.new(mode, (32, 32), left)
    image.paste(right, (16, 0, 32, 32))
    return image


def make_png(width: int, height: int, depth: int, colour: int, rows: bytes, passes: int = 0) -> bytes:
    """A PNG from its filtered rows; `passes` is 1 for Adam7."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, passes)
    data = png_chunk(b"IDAT", zlib.compress(rows, 9))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + data + png_chunk(b"IEND", b"")


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def interlaced_png(image: Image.Image) -> bytes:
    """An RGB image as an Adam7 PNG, which Pillow reads but does not write."""
    pixels = np.asarray(image)
    rows = b"".join(png_rows(pixels[top::down, left::right]) for left, top, right, down in ADAM7)
    return make_png(*image.size, 8, RGB, rows, passes=1)


def png_rows(pixels: npt.NDArray[Any]) -> bytes:
    """Rows of a PNG, each with filter 0 (none)."""
    return b"".join(b"\0" + row.tobytes() for row in pixels)


def black_png(side: int) -> bytes:
    """A black 1-bit PNG of `side` x `side` pixels: 1 kB of file for 8 MB of decoded pixels."""
    return make_png(side, side, 1, GREY, bytes((1 + (side + 7) // 8) * side))


RED, BLUE, WHITE, BLACK = (255, 0, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)
PHOTO, SWAPPED = two_colours(RED, BLUE), two_colours(BLUE, RED)
# Red and blue as grey (ITU-R 601).
LUMA = (76, 76, 76), (29, 29, 29)
ANIMATION: dict[str, Any] = {"save_all": True, "append_images": [SWAPPED], "duration": 100}
# 16 bits: 40,000 of 65,535 is 155 of 255.
PIXELS_16_BIT = np.repeat(np.array([[40_000] * 16 + [0] * 16], dtype=np.uint16), 32, axis=0)

Colour = tuple[int, int, int]
# Each file with the expected colours of its left and right half.
CORPUS: dict[str, tuple[bytes, tuple[Colour, Colour]]] = {
    "jpeg": (encode_image(PHOTO, "JPEG", quality=95), (RED, BLUE)),
    "jpeg progressive": (encode_image(PHOTO, "JPEG", quality=95, progressive=True), (RED, BLUE)),
    "jpeg cmyk": (encode_image(PHOTO.convert("CMYK"), "JPEG", quality=95), (RED, BLUE)),
    "jpeg grey": (encode_image(PHOTO.convert("L"), "JPEG", quality=95), LUMA),
    "mpo": (encode_image(PHOTO, "MPO", quality=95, **ANIMATION), (RED, BLUE)),
    "png": (encode_image(PHOTO, "PNG"), (RED, BLUE)),
    "png palette": (encode_image(PHOTO.quantize(4), "PNG"), (RED, BLUE)),
    "png palette transparent": (
        encode_image(two_colours(0, 1, "P"), "PNG", transparency=0),
        (WHITE, (1, 1, 1)),
    ),
    "png grey": (encode_image(PHOTO.convert("L"), "PNG"), LUMA),
    "png grey transparent": (
        encode_image(two_colours(76, 29, "L"), "PNG", transparency=76),
        (WHITE, LUMA[1]),
    ),
    "png 1 bit": (encode_image(two_colours(1, 0, "1"), "PNG"), (WHITE, BLACK)),
    "png 16 bit grey": (encode_image(Image.fromarray(PIXELS_16_BIT), "PNG"), ((155, 155, 155), BLACK)),
    "png 16 bit": (
        make_png(32, 32, 16, RGB, png_rows(257 * np.asarray(PHOTO, dtype=">u2"))),
        (RED, BLUE),
    ),
    "png rgba": (encode_image(two_colours((*RED, 0), (*BLUE, 255), "RGBA"), "PNG"), (WHITE, BLUE)),
    "png half transparent": (
        encode_image(two_colours((*RED, 128), BLUE, "RGBA"), "PNG"),
        ((255, 127, 127), BLUE),
    ),
    "png grey alpha": (encode_image(two_colours((76, 0), (29, 255), "LA"), "PNG"), (WHITE, LUMA[1])),
    "png interlaced": (interlaced_png(PHOTO), (RED, BLUE)),
    "webp": (encode_image(PHOTO, "WEBP", quality=95), (RED, BLUE)),
    "webp lossless": (encode_image(PHOTO, "WEBP", lossless=True), (RED, BLUE)),
    "webp rgba": (
        encode_image(two_colours((*RED, 0), BLUE, "RGBA"), "WEBP", lossless=True, exact=True),
        (WHITE, BLUE),
    ),
    "webp animated": (encode_image(PHOTO, "WEBP", lossless=True, **ANIMATION), (RED, BLUE)),
    "gif": (encode_image(PHOTO, "GIF"), (RED, BLUE)),
    "gif transparent": (encode_image(PHOTO.quantize(2), "GIF", transparency=0), (WHITE, BLUE)),
    "gif animated": (encode_image(PHOTO, "GIF", **ANIMATION), (RED, BLUE)),
    "avif": (encode_image(PHOTO, "AVIF", quality=95), (RED, BLUE)),
    "avif rgba": (encode_image(two_colours((*RED, 0), BLUE, "RGBA"), "AVIF", quality=100), (WHITE, BLUE)),
    "avif animated": (encode_image(PHOTO, "AVIF", quality=95, **ANIMATION), (RED, BLUE)),
    "heic": (encode_image(PHOTO, "HEIF", quality=95), (RED, BLUE)),
    "heic rgba": (encode_image(two_colours((*RED, 0), BLUE, "RGBA"), "HEIF", quality=-1), (WHITE, BLUE)),
    "heic several": (encode_image(PHOTO, "HEIF", quality=95, **ANIMATION), (RED, BLUE)),
    "bmp": (encode_image(PHOTO, "BMP"), (RED, BLUE)),
    "bmp palette": (encode_image(PHOTO.quantize(4), "BMP"), (RED, BLUE)),
    "bmp 1 bit": (encode_image(two_colours(1, 0, "1"), "BMP"), (WHITE, BLACK)),
}


def halves(width: int = 60, height: int = 20) -> bytes:
    """An image whose central square is red on the left and blue on the right; the rest is green."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[:] = (0, 255, 0)
    left = (width - height) // 2
    pixels[:, left : left + height // 2] = (255, 0, 0)
    pixels[:, left + height // 2 : left + height] = (0, 0, 255)
    return encode_image(Image.fromarray(pixels), "PNG")
