"""Decodes images to pixels. Training, evaluation and serving use this same decoder.

The bytes are untrusted. The dimensions that a file declares are checked before any pixel is decoded, and none
of its metadata leaves this module.
"""

import io
import math
import warnings
from dataclasses import dataclass
from typing import Any

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
from serving.model.formats.image_file import ACCEPTED, HEIC_SUPPORTED, ImageFile
from serving.model.point_sampling import Pixels as Pixels
from serving.model.preprocessing import Preprocessing as Preprocessing
from serving.model.resizing import TURNED, draft_size, resize

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", *(["HEIC"] if HEIC_SUPPORTED else []))

# JPEG files of cameras have 3 to 15 MB.
MAX_BYTES = 20 * 2**20
# Limit for images that are decoded at full size. Pillow stores a pixel in four bytes: 25 megapixels take
# 100 MB, and 200 MB with transparency.
MAX_PIXELS = 25_000_000
# The decoders of these formats hold more copies: twelve megapixels take up to 250 MB.
MAX_PIXELS_BY_FORMAT = {"WEBP": 12_000_000, "AVIF": 12_000_000}
# A JPEG with one scan is decoded at 1/2, 1/4 or 1/8 of its size, so the 50 to 200 megapixels of phones take
# no more memory. Scaling averages pixels, so it is not done for filters that do not (no antialiasing).
MAX_PIXELS_SCALED = 200_000_000
# Limit for what the decoder and the pixels at full size take together. It concerns JPEG files with several
# scans in CMYK, which have up to 20 megapixels then.
MAX_DECODED_BYTES = 250_000_000
# Pixels times scans: a progressive JPEG of 25 megapixels may have 40 scans, and usually has 10.
MAX_SCANNED_PIXELS = 1_000_000_000
# The HEIC decoder takes a second for 24 megapixels in 10 MB; photos of phones have a third of that.
MAX_BYTES_HEIC = 10 * 2**20
# Longer side divided by the shorter one. Rejects images such as 65,000 x 16 pixels, whose central square
# shows nothing of the rest.
MAX_ASPECT_RATIO = 50
MIN_SIDE = 8
# Rows of a transparent image that are composited over white at a time.
STRIP_ROWS = 256

# Pillow's own limit, as a second check: it raises above twice this number, and warns above it.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS_SCALED
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# By default these decoders start threads of their own; each slot of the server already has a core.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
if HEIC_SUPPORTED:
    import pillow_heif

    pillow_heif.register_heif_opener(decode_threads=1, thumbnails=False, depth_images=False, aux_images=False)

# Other image formats, for the error message: by the major brand of an ISO media file (bytes 8 to 12), or by
# the file's first bytes.
ISO_BRANDS = {
    b"heic": "HEIC", b"heix": "HEIC", b"heim": "HEIC", b"heis": "HEIC", b"hevc": "HEIC", b"mif1": "HEIF",
    b"msf1": "HEIF", b"avif": "AVIF", b"avis": "AVIF", b"crx ": "Canon raw",
}  # fmt: skip
SIGNATURES = {
    b"%PDF": "PDF", b"<svg": "SVG", b"II*\x00": "TIFF", b"MM\x00*": "TIFF", b"II+\x00": "TIFF",
    b"MM\x00+": "TIFF", b"\x00\x00\x01\x00": "ICO", b"8BPS": "Photoshop", b"\xff\x0a": "JPEG XL",
    b"\x00\x00\x00\x0cJXL ": "JPEG XL", b"\x00\x00\x00\x0cjP  ": "JPEG 2000",
}  # fmt: skip


@dataclass(frozen=True)
class DecodedImage:
    """The pixels as the model's input, and the format, dimensions and EXIF orientation of the file."""

    pixels: Pixels
    format: str
    width: int
    height: int
    orientation: int

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height as the image is seen."""
        turned = self.orientation in TURNED
        return (self.height, self.width) if turned else (self.width, self.height)

    @property
    def size(self) -> float:
        """The square root of the number of pixels of the file."""
        return math.sqrt(self.width * self.height)


def decode(data: bytes, preprocessing: Preprocessing) -> Pixels:
    """Decodes one image to uint8 [H,W,C], RGB or grey, upright, transparent parts over white.

    Raises an `ImageError`, or a `MemoryError`; no other exception.
    """
    return decode_image(data, preprocessing).pixels


def decode_image(data: bytes, preprocessing: Preprocessing) -> DecodedImage:
    """Decodes like `decode`, and returns format and dimensions of the file too."""
    if not data:
        raise ImageEmpty
    if len(data) > MAX_BYTES:
        raise ImageTooLarge(len(data), MAX_BYTES)
    try:
        name = detection.detect(data)
        if name not in FORMATS:
            raise _unsupported(data)
        file = detection.parse(name, data)
        _check_limits(file, preprocessing)
        # Pillow's plugin for HEIC is registered under the name of the container, HEIF.
        with Image.open(io.BytesIO(file.data), formats=["HEIF" if name == "HEIC" else name]) as image:
            width, height = image.size
            # It may be smaller: the HEIC decoder crops the padding of the last blocks.
            if width * height > file.width * file.height:
                raise ImageDamaged(f"it states {file.width} x {file.height} and {width} x {height} pixels")
            pixels = _load_and_resize(image, file.orientation, preprocessing)
        return DecodedImage(pixels, file.format, width, height, file.orientation)
    # MemoryError: the machine lacks memory; the image is not damaged.
    except (ImageError, MemoryError):
        raise
    # Pillow's plugins raise many types for damaged files: OSError, SyntaxError, ValueError, struct.error,
    # KeyError, ... They are errors of the client, not of the server.
    except Exception as error:  # noqa: BLE001
        raise _damaged(error) from None


def _check_limits(file: ImageFile, preprocessing: Preprocessing) -> None:
    """Raises an `ImageError` for an image that is too expensive to decode, or too small."""
    width, height = file.width, file.height
    scaled = file.decodes_scaled and preprocessing.averages
    if file.format == "HEIC" and len(file.data) > MAX_BYTES_HEIC:
        raise ImageTooLarge(len(file.data), MAX_BYTES_HEIC)
    limit = MAX_PIXELS_SCALED if scaled else MAX_PIXELS_BY_FORMAT.get(file.format, MAX_PIXELS)
    if max(width * height, file.decoded_pixels) > limit:
        raise ImageTooManyPixels(f"{width} x {height} pixels", f"{limit:,} in all")
    if not preprocessing.averages and file.held_bytes + 4 * width * height > MAX_DECODED_BYTES:
        fitting = MAX_DECODED_BYTES * width * height // (file.held_bytes + 4 * width * height)
        raise ImageTooManyPixels(f"{width} x {height} pixels in {file.scans} scans", f"{fitting:,} in all")
    if file.scans * width * height > MAX_SCANNED_PIXELS:
        found = f"{file.scans} scans over {width} x {height} pixels"
        raise ImageTooManyPixels(found, f"{MAX_SCANNED_PIXELS:,} in all")
    if min(width, height) < MIN_SIDE:
        raise ImageTooSmall(width, height, MIN_SIDE)
    if max(width, height) > MAX_ASPECT_RATIO * min(width, height):
        raise ImageTooManyPixels(f"{width} x {height} pixels", f"sides of at most {MAX_ASPECT_RATIO} to 1")


def _damaged(error: Exception) -> ImageError:
    """`ImageTruncated` or `ImageDamaged`, by Pillow's message."""
    reason = str(error) or type(error).__name__
    return ImageTruncated() if "truncated" in reason.lower() else ImageDamaged(reason)


def _unsupported(data: bytes) -> ImageError:
    """`ImageFormatUnsupported` for a known image format, else `ImageUnrecognised`."""
    head = data[:512].lstrip()
    name = ISO_BRANDS.get(data[8:12]) if data[4:8] == b"ftyp" else None
    name = name or next((name for signature, name in SIGNATURES.items() if head.startswith(signature)), None)
    if name is None and head.startswith(b"<?xml") and b"<svg" in head:
        name = "SVG"
    return ImageFormatUnsupported(name, ACCEPTED) if name else ImageUnrecognised(ACCEPTED)


def _load_and_resize(image: Image.Image, orientation: int, preprocessing: Preprocessing) -> Pixels:
    if preprocessing.averages:
        # JPEG: the smallest decoding scale that still has as many pixels as the resize needs.
        image.draft("RGB", draft_size(image.size, orientation, preprocessing))
        if image.width * image.height > MAX_PIXELS:
            found = f"{image.width} x {image.height} pixels at the scale that the model needs"
            raise ImageTooManyPixels(found, f"{MAX_PIXELS:,} in all")
    image.load()
    pixels = resize(_to_rgb_or_grey(image, preprocessing.channels), orientation, preprocessing)
    if pixels.ndim == 2:
        return np.repeat(pixels[..., np.newaxis], preprocessing.channels, axis=2)
    return pixels


def _to_rgb_or_grey(image: Image.Image, channels: int) -> Image.Image:
    """Converts any mode to RGB or 8-bit grey, also where `convert` alone would give wrong pixels.

    With one channel the result is grey (ITU-R 601). With three, images that are grey stay so.
    """
    if image.mode.startswith("I"):
        # 16-bit grey: convert() clips at 255, which makes most of the image white.
        deep: npt.NDArray[Any] = np.asarray(image)
        high = np.empty(deep.shape, dtype=np.uint8)
        np.right_shift(deep, 8, out=high, casting="unsafe")
        image = Image.fromarray(high)
    if image.has_transparency_data:
        return _composite_over_white(image, "L" if channels == 1 else "RGB")
    if image.mode == "L":
        return image
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    return rgb.convert("L") if channels == 1 else rgb


def _composite_over_white(image: Image.Image, mode: str) -> Image.Image:
    """Composites an image over white; convert() would show the hidden colours of transparent pixels.

    It works in strips, because the intermediate results of the whole image would take three copies.
    """
    opaque = Image.new(mode, image.size)
    for top in range(0, image.height, STRIP_ROWS):
        strip = image.crop((0, top, image.width, min(top + STRIP_ROWS, image.height))).convert("RGBA")
        white = Image.new("RGBA", strip.size, "white")
        flat = Image.alpha_composite(white, strip).convert("RGB")
        opaque.paste(flat if mode == "RGB" else flat.convert(mode), (0, top))
    return opaque
