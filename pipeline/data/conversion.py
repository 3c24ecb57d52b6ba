"""Converts photos to PNG from formats that not every server can decode, on request (`prepare.convert`).

A converted photo has at most `MAX_OUTPUT_PIXELS`. That is more than the largest model input needs, and keeps
its file below the decoder's size limit.
"""

import io
import warnings
from typing import get_args

import numpy as np
from PIL import Image, ImageOps

from pipeline.params import Convertible
from serving.errors import ImageDamaged, ImageFormatUnsupported, ImageTooLarge, ImageTooManyPixels
from serving.model.decoder import SIGNATURES
from serving.model.formats import detection
from serving.model.formats.image_file import ACCEPTED, HEIC_SUPPORTED

CONVERTIBLE_FORMATS: tuple[str, ...] = get_args(Convertible)
# Scans can have 100 MB. The files are the user's own, so the limits only guard against mistakes.
MAX_BYTES = 256 * 2**20
MAX_PIXELS = 60_000_000
# At 3 bytes a pixel even noise, which PNG does not compress, stays below the decoder's 20 MB.
MAX_OUTPUT_PIXELS = 4_000_000


def detect_format(data: bytes) -> str | None:
    """The image format by the file's content, named as in `prepare.convert`; `None` if unknown."""
    known = detection.detect(data)
    return known or next((name for start, name in SIGNATURES.items() if data.startswith(start)), None)


def to_png(data: bytes, name: str) -> bytes:
    """Converts the first page of an image to PNG: EXIF orientation applied, 8-bit RGB, on white."""
    if len(data) > MAX_BYTES:
        raise ImageTooLarge(len(data), MAX_BYTES)
    if name == "HEIC" and not HEIC_SUPPORTED:
        raise ImageFormatUnsupported(name, ACCEPTED)
    try:
        with Image.open(io.BytesIO(data), formats=["HEIF" if name == "HEIC" else name]) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ImageTooManyPixels(f"{image.width} x {image.height} pixels", f"{MAX_PIXELS:,} in all")
            with warnings.catch_warnings():
                # Warnings about damaged metadata, which is not kept.
                warnings.simplefilter("ignore")
                rgb = _to_rgb(ImageOps.exif_transpose(image))
    except (MemoryError, ImageTooManyPixels):
        raise
    # Damaged bytes make Pillow's plugins raise exceptions of many types.
    except Exception as error:  # noqa: BLE001
        raise ImageDamaged(str(error) or type(error).__name__) from None
    scale = min(1, (MAX_OUTPUT_PIXELS / (rgb.width * rgb.height)) ** 0.5)
    if scale < 1:
        size = max(1, int(rgb.width * scale)), max(1, int(rgb.height * scale))
        rgb = rgb.resize(size, Image.Resampling.BICUBIC)
    target = io.BytesIO()
    rgb.save(target, "PNG")
    return target.getvalue()


def conversion_advice(name: str) -> str:
    """One sentence on how to use photos of a convertible format."""
    install = "" if name != "HEIC" or HEIC_SUPPORTED else " and run `pip install pillow-heif`"
    return (
        f"{name} is not read as it is: set prepare.convert: [{name}] in params.yaml{install}, or save it as "
        "JPEG or PNG"
    )


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        image = _to_8_bits(image)
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def _to_8_bits(image: Image.Image) -> Image.Image:
    """16-bit values are scaled from their full range; others, whose white is unknown, from their own."""
    values = np.asarray(image, dtype=np.float32)
    low, high = (
        (0.0, 65535.0) if image.mode.startswith("I;16") else (float(values.min()), float(values.max()))
    )
    scaled = (values - low) * (255 / (high - low)) if high > low else np.zeros_like(values)
    return Image.fromarray(scaled.clip(0, 255).astype(np.uint8))
