"""Encoded bytes in, pixels out: the one decoder that trains, measures and serves.

The bytes may come from anybody. What a file says of itself is checked before a pixel of it is
decoded, and nothing of its metadata leaves this module.
"""

import io
import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import AvifImagePlugin, Image

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
from serving.model.formats import detection
from serving.model.formats.image_file import ACCEPTED, READS_HEIC, PictureFile

Pixels = npt.NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", *(["HEIC"] if READS_HEIC else []))

# A camera's JPEG has 3 to 15 MB.
MAX_BYTES = 20 * 2**20
# Decoded in full. Pillow holds a pixel in four bytes: 25 megapixels cost 100 MB, and 200 MB where
# transparent parts are laid over white.
MAX_PIXELS = 25_000_000
# These are decoded by way of more copies: twelve megapixels cost up to 250 MB.
MAX_PIXELS_COPIED = {"WEBP": 12_000_000, "AVIF": 12_000_000}
# A JPEG in one scan decodes at 1/2, 1/4 or 1/8 of its size, so 50 to 200 megapixels of phones cost no more.
MAX_PIXELS_SCALED = 200_000_000
# Pixels times passes: a progressive picture of 25 megapixels may have 40 scans, and usually has 10.
MAX_PASSED_PIXELS = 1_000_000_000
# The decoder of HEIC takes a second for 24 megapixels in 10 MB; phones write a third of that.
MAX_BYTES_HEIC = 10 * 2**20
# Keeps a picture of 65,000 x 16 pixels, whose centre says nothing, from passing as a photo.
MAX_ASPECT = 50
MIN_SIDE = 8
# Rows of a transparent picture that are laid over white at a time.
STRIP = 256

# Pillow's own limit is the second line behind ours: it raises above twice this number, and warns before.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS_SCALED
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# Each slot of the server has a core; these decoders would start threads of their own.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
if READS_HEIC:
    import pillow_heif

    pillow_heif.register_heif_opener(decode_threads=1, thumbnails=False, depth_images=False, aux_images=False)

# What people send by mistake and their software can convert: by the brand in an ISO media file (bytes 8 to
# 12), or by the bytes at the start.
BRANDS = {
    b"heic": "HEIC", b"heix": "HEIC", b"heim": "HEIC", b"heis": "HEIC", b"hevc": "HEIC", b"mif1": "HEIF",
    b"msf1": "HEIF", b"avif": "AVIF", b"avis": "AVIF", b"crx ": "Canon raw",
}  # fmt: skip
STARTS = {
    b"%PDF": "PDF", b"<svg": "SVG", b"II*\x00": "TIFF", b"MM\x00*": "TIFF", b"II+\x00": "TIFF",
    b"MM\x00+": "TIFF", b"\x00\x00\x01\x00": "ICO", b"8BPS": "Photoshop", b"\xff\x0a": "JPEG XL",
    b"\x00\x00\x00\x0cJXL ": "JPEG XL", b"\x00\x00\x00\x0cjP  ": "JPEG 2000",
}  # fmt: skip

# How stored pixels become upright ones, by EXIF orientation (1 and unknown values: as they are).
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Preprocessing:
    """How a picture of any size becomes the model's input.

    The central square that holds `crop` of the short side is resized to `size` x `size` pixels.
    """

    size: int
    crop: float
    interpolation: Literal["bicubic"] = "bicubic"

    def __post_init__(self) -> None:
        whole = type(self.size) is int and type(self.crop) in (int, float)
        if not whole or self.size < 1 or not 0 < self.crop <= 1 or self.interpolation != "bicubic":
            raise ValueError(f"{self} is not a preprocessing: size >= 1, 0 < crop <= 1, bicubic")


@dataclass(frozen=True)
class Picture:
    """A decoded image: its pixels as the model wants them, and what the file was like."""

    pixels: Pixels
    format: str
    width: int
    height: int


def decode(data: bytes, preprocessing: Preprocessing) -> Pixels:
    """Decodes one image to uint8 [S,S,3], RGB, upright, transparent parts over white.

    Raises an `ImageError` that says what is wrong. Nothing but a `MemoryError` comes besides.
    """
    return picture(data, preprocessing).pixels


def picture(data: bytes, preprocessing: Preprocessing) -> Picture:
    """Decodes like `decode`, and tells format and size of the file too."""
    if not data:
        raise ImageEmpty
    if len(data) > MAX_BYTES:
        raise ImageTooLarge(len(data), MAX_BYTES)
    try:
        name = detection.find(data)
        if name not in FORMATS:
            raise _unknown(data)
        file = detection.read(name, data)
        _check(file)
        # Pillow's plugin for HEIC is called after the container.
        with Image.open(io.BytesIO(file.data), formats=["HEIF" if name == "HEIC" else name]) as image:
            width, height = image.size
            # Less where the decoder of HEIC cuts off what fills up the last blocks.
            if width * height > file.width * file.height:
                raise ImageDamaged(f"it states {file.width} x {file.height} and {width} x {height} pixels")
            pixels = _pixels(image, file.orientation, preprocessing)
        return Picture(pixels, file.format, width, height)
    # Memory that this machine lacks is no fault of the image.
    except (ImageError, MemoryError):
        raise
    # Pillow's plugins raise whatever broken bytes lead them to: OSError, SyntaxError, ValueError,
    # struct.error, KeyError, ... None of it may pass as a fault of the server.
    except Exception as error:  # noqa: BLE001
        raise _broken(error) from None


def _check(file: PictureFile) -> None:
    """Refuses what must not be decoded."""
    width, height = file.width, file.height
    if file.format == "HEIC" and len(file.data) > MAX_BYTES_HEIC:
        raise ImageTooLarge(len(file.data), MAX_BYTES_HEIC)
    limit = MAX_PIXELS_SCALED if file.scaled else MAX_PIXELS_COPIED.get(file.format, MAX_PIXELS)
    if max(width * height, file.pixels) > limit:
        raise ImageTooManyPixels(f"{width} x {height} pixels", f"{limit:,} in all")
    if file.passes * width * height > MAX_PASSED_PIXELS:
        passes = f"{file.passes} scans over {width} x {height} pixels"
        raise ImageTooManyPixels(passes, f"{MAX_PASSED_PIXELS:,} in all")
    if min(width, height) < MIN_SIDE:
        raise ImageTooSmall(width, height, MIN_SIDE)
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ImageTooManyPixels(f"{width} x {height} pixels", f"sides of at most {MAX_ASPECT} to 1")


def _broken(error: Exception) -> ImageError:
    """Tells a file that ends too soon from one that is wrong inside."""
    reason = str(error) or type(error).__name__
    return ImageTruncated() if "truncated" in reason.lower() else ImageDamaged(reason)


def _unknown(data: bytes) -> ImageError:
    """Tells an image of another format from what is no image at all."""
    head = data[:512].lstrip()
    name = BRANDS.get(data[8:12]) if data[4:8] == b"ftyp" else None
    name = name or next((name for start, name in STARTS.items() if head.startswith(start)), None)
    if name is None and head.startswith(b"<?xml") and b"<svg" in head:
        name = "SVG"
    return ImageFormatUnsupported(name, ACCEPTED) if name else ImageUnrecognised(ACCEPTED)


def _pixels(image: Image.Image, orientation: int, preprocessing: Preprocessing) -> Pixels:
    size, crop = preprocessing.size, preprocessing.crop
    # JPEG: the smallest decoding that still has as many pixels as the resize needs.
    short = round(size / crop)
    scale = short / min(image.size)
    image.draft("RGB", (round(image.width * scale), round(image.height * scale)))
    image.load()
    plain = _plain(image)
    side = crop * min(plain.size)
    left, top = (plain.width - side) / 2, (plain.height - side) / 2
    small = plain.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    # The central square stays itself when turned, so the small picture is turned, not the large one.
    if orientation in UPRIGHT:
        small = small.transpose(UPRIGHT[orientation])
    return np.asarray(small.convert("RGB"))


def _plain(image: Image.Image) -> Image.Image:
    """Any mode to RGB, or to 8-bit grey, also where `convert("RGB")` alone would give a wrong picture."""
    if image.mode.startswith("I"):
        # 16-bit grey: convert() clips at 255, which makes most of the picture white.
        deep: npt.NDArray[Any] = np.asarray(image)
        high = np.empty(deep.shape, dtype=np.uint8)
        np.right_shift(deep, 8, out=high, casting="unsafe")
        image = Image.fromarray(high)
    if image.has_transparency_data:
        return _over_white(image)
    return image if image.mode in ("RGB", "L") else image.convert("RGB")


def _over_white(image: Image.Image) -> Image.Image:
    """Lays a picture over white: convert() would show the colours that hide under transparent pixels.

    Strip by strip, because whole pictures would be copied three times.
    """
    opaque = Image.new("RGB", image.size)
    for top in range(0, image.height, STRIP):
        strip = image.crop((0, top, image.width, min(top + STRIP, image.height))).convert("RGBA")
        white = Image.new("RGBA", strip.size, "white")
        opaque.paste(Image.alpha_composite(white, strip).convert("RGB"), (0, top))
    return opaque
