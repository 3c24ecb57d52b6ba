"""Files that are no image, damaged or too expensive are refused, each by its own error class and message."""

import random
import re
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from serving.errors import (
    ImageDamaged,
    ImageEmpty,
    ImageError,
    ImageFormatUnsupported,
    ImageTooLarge,
    ImageTooManyPixels,
    ImageTooSmall,
    ImageTruncated,
    ImageUnrecognised,
)
from serving.model import decoder
from serving.model.decoder import MAX_BYTES, Preprocessing, decode
from tests.serving.decoding_cost import PEAK_RESET, CostMeter
from tests.serving.images import GREY, PHOTO, black_png, encode_image, make_png

SETTINGS = Preprocessing(size=16, crop=0.875)
linux = pytest.mark.skipif(not PEAK_RESET.exists(), reason="only Linux reports a process's peak memory")
NOISE = Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 40, 3), dtype=np.uint8))


def box(brand: bytes) -> bytes:
    """The start of a HEIF file: a box of 32 bytes with its brand."""
    return struct.pack(">I", 32) + b"ftyp" + brand + bytes(500)


def cut(data: bytes) -> bytes:
    """The first two thirds of a file."""
    return data[: len(data) * 2 // 3]


def overwritten(data: bytes) -> bytes:
    """A file of the same length with 40 bytes in its middle overwritten."""
    middle = len(data) // 2
    return data[:middle] + b"\xff" * 40 + data[middle + 40 :]


def repeat_last_scan(times: int) -> bytes:
    """A progressive JPEG that repeats its last scan: a few bytes, which take time for all pixels."""
    data = encode_image(Image.new("L", (64, 64)), "JPEG", progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + times * scan + data[-2:]


# File, error class and a part of the message.
REFUSED: dict[str, tuple[bytes, type[ImageError], str]] = {
    "nothing": (b"", ImageEmpty, "zero bytes"),
    "html": (b"<!doctype html><title>Not found</title>", ImageUnrecognised, "Send JPEG"),
    "random bytes": (random.Random(1).randbytes(5000), ImageUnrecognised, "Send JPEG"),
    "one byte": (b"\xff", ImageUnrecognised, "Send JPEG"),
    "heic without an image": (box(b"heic"), ImageFormatUnsupported, "HEIC"),
    "canon raw": (box(b"crx "), ImageFormatUnsupported, "Canon"),
    "heif of pixels that are not compressed": (box(b"mif1"), ImageFormatUnsupported, "HEIF"),
    "avif without an image": (box(b"avif"), ImageFormatUnsupported, "AVIF"),
    "avif cut off": (cut(encode_image(NOISE, "AVIF")), ImageTruncated, "breaks off"),
    "heic cut off": (cut(encode_image(NOISE, "HEIF")), ImageTruncated, "breaks off"),
    "tiff": (encode_image(PHOTO, "TIFF"), ImageFormatUnsupported, "TIFF"),
    "tiff, big end first": (b"MM\x00*" + bytes(500), ImageFormatUnsupported, "TIFF"),
    "ico": (encode_image(PHOTO, "ICO"), ImageFormatUnsupported, "ICO"),
    "pdf": (encode_image(PHOTO, "PDF"), ImageFormatUnsupported, "PDF"),
    "svg": (b"\n <svg xmlns='http://www.w3.org/2000/svg'/>", ImageFormatUnsupported, "SVG"),
    "svg with a declaration": (
        b"<?xml version='1.0'?>\n<!-- drawn --><svg xmlns='http://www.w3.org/2000/svg'/>",
        ImageFormatUnsupported,
        "SVG",
    ),
    "photoshop": (b"8BPS\x00\x01" + bytes(500), ImageFormatUnsupported, "Photoshop"),
    "jpeg cut off": (cut(encode_image(NOISE, "JPEG")), ImageTruncated, "breaks off"),
    "png cut off": (cut(encode_image(NOISE, "PNG")), ImageTruncated, "breaks off"),
    "webp cut off": (cut(encode_image(NOISE, "WEBP")), ImageTruncated, "breaks off"),
    "gif cut off": (cut(encode_image(NOISE, "GIF")), ImageTruncated, "breaks off"),
    "bmp cut off": (cut(encode_image(NOISE, "BMP")), ImageTruncated, "breaks off"),
    "webp lossless cut off": (cut(encode_image(NOISE, "WEBP", lossless=True)), ImageTruncated, "breaks off"),
    "jpeg with a hole": (overwritten(encode_image(NOISE, "JPEG")), ImageDamaged, "broken data stream"),
    "png with a hole": (overwritten(encode_image(NOISE, "PNG")), ImageDamaged, "data stream"),
    "gif with a hole": (overwritten(encode_image(NOISE, "GIF")), ImageDamaged, "broken data stream"),
    "81 megapixels in 10 kB": (black_png(9000), ImageTooManyPixels, "9000 x 9000"),
    "900 megapixels of header": (make_png(30_000, 30_000, 1, GREY, b""), ImageTooManyPixels, "pixels"),
    "webp, a row too many": (
        encode_image(Image.new("L", (4000, 3001)), "WEBP", method=0),
        ImageTooManyPixels,
        "12,000,000 in all",
    ),
    "png, a row too many": (
        encode_image(Image.new("1", (5000, 5001)), "PNG"),
        ImageTooManyPixels,
        "25,000,000",
    ),
    "progressive jpeg, a row too many": (
        encode_image(Image.new("L", (5000, 5001)), "JPEG", progressive=True),
        ImageTooManyPixels,
        "25,000,000",
    ),
    "a line": (encode_image(Image.new("L", (60_000, 8)), "PNG"), ImageTooManyPixels, "50 to 1"),
    "one pixel": (encode_image(Image.new("L", (1, 1)), "PNG"), ImageTooSmall, "1 x 1"),
    "a thousand scans": (repeat_last_scan(1000), ImageDamaged, "scan"),
    "seven rows": (encode_image(Image.new("L", (8, 7)), "PNG"), ImageTooSmall, "8 x 7"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    data, kind, part = REFUSED[name]
    with pytest.raises(ImageError) as caught:
        decode(data, SETTINGS)
    assert type(caught.value) is kind
    sentence = str(caught.value)
    assert part in sentence
    assert re.fullmatch(r"[A-Z][^\n]*[.?]", sentence)
    # It contains no complete sentence of Pillow and no address of an object.
    assert ".;" not in sentence
    assert " at 0x" not in sentence


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1"])
def test_heic_without_its_package(monkeypatch: pytest.MonkeyPatch, brand: bytes) -> None:
    # As if `requirements/heic.txt` was not installed.
    monkeypatch.setattr(decoder, "FORMATS", [name for name in decoder.FORMATS if name != "HEIC"])
    data = encode_image(PHOTO, "HEIF").replace(b"ftypheic", b"ftyp" + brand, 1)
    with pytest.raises(ImageFormatUnsupported, match=r"HEI[CF] is not accepted\. Export the photo as JPEG"):
        decode(data, SETTINGS)


def test_size_is_checked_before_the_content() -> None:
    with pytest.raises(ImageUnrecognised):
        decode(bytes(MAX_BYTES), SETTINGS)
    with pytest.raises(ImageTooLarge):
        decode(bytes(MAX_BYTES + 1), SETTINGS)


# A JPEG with one scan may have more pixels, but it takes long to encode one.
@pytest.mark.parametrize(
    ("size", "kind"),
    [
        ((8, 8), "PNG"),
        ((400, 8), "PNG"),
        ((8, 400), "PNG"),
        ((5000, 5000), "PNG"),
        ((4000, 3000), "WEBP"),
        ((5000, 5001), "JPEG"),
    ],
)
def test_just_within_the_limits(size: tuple[int, int], kind: str) -> None:
    image = Image.new("1" if kind == "PNG" else "L", size)
    assert decode(encode_image(image, kind), SETTINGS).shape == (16, 16, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.9, 0.99])
def test_cut_off_anywhere_is_called_so(kind: str, part: float) -> None:
    data = encode_image(NOISE, kind)
    with pytest.raises(ImageTruncated):
        decode(data[: int(part * len(data))], SETTINGS)


@linux
def test_bomb_is_refused_without_decoding_it(meter: CostMeter) -> None:
    bomb = black_png(9000)
    assert len(bomb) < 15_000
    assert meter.measure(bomb).megabytes < 50
    # An image within the limit takes more than 50 MB, so decoding the bomb would be noticed.
    assert meter.measure(black_png(4900)).megabytes > 50


# Functions that make large images, and the MB that decoding one may take. Pillow stores a pixel in four bytes
# in any mode, so a copy of 24 megapixels takes 96 MB: the decoded one, and a second one as RGB. A WebP of 12
# megapixels takes four copies.
LARGE: dict[str, tuple[Callable[[], bytes], int]] = {
    "png, 1 bit": (lambda: black_png(4900), 150),
    "png, 16 bit grey": (lambda: make_png(4900, 4900, 16, GREY, bytes(4900 * (1 + 2 * 4900))), 170),
    "png, transparent": (lambda: blank("RGBA", 4900, "PNG", compress_level=1), 230),
    "png, grey, transparent": (lambda: blank("LA", 4900, "PNG", compress_level=1), 230),
    "png, palette, transparent": (lambda: blank("P", 4900, "PNG", transparency=0), 230),
    "gif, transparent": (lambda: blank("P", 4900, "GIF", transparency=0), 230),
    "jpeg": (lambda: blank("L", 14_000, "JPEG"), 50),
    "jpeg, progressive": (lambda: blank("RGB", 4900, "JPEG", progressive=True), 200),
    "webp": (lambda: blank("RGB", 3460, "WEBP", method=0), 250),
    "webp, transparent": (lambda: blank("RGBA", 3460, "WEBP", lossless=True, method=0), 250),
    "avif": (lambda: blank("RGB", 3460, "AVIF", speed=10, subsampling="4:4:4"), 150),
    "avif, transparent": (lambda: blank("RGBA", 3460, "AVIF", speed=10, subsampling="4:4:4"), 250),
}


def blank(mode: str, side: int, kind: str, **options: Any) -> bytes:  # noqa: ANN401  (Pillow's own)
    """A large image of one colour."""
    return encode_image(Image.new(mode, (side, side)), kind, **options)


@linux
@pytest.mark.parametrize("name", LARGE)
def test_largest_images_stay_within_their_memory(meter: CostMeter, name: str) -> None:
    make, limit = LARGE[name]
    cost = meter.measure(make())
    assert cost.outcome == "decoded"
    assert cost.megabytes < limit
