"""Photos in formats that the server does not read, or not everywhere, as PNG; on request (`prepare.convert`).

A converted photo has at most `KEPT_PIXELS`, more than the largest input of a model needs, so its file is
below what the decoder takes.
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

FORMATS: tuple[str, ...] = get_args(Convertible)
# Scans have 100 MB. They are the user's own files, and still a typing error away from a hundred times that.
MAX_BYTES = 256 * 2**20
MAX_PIXELS = 60_000_000
# At three bytes a pixel, and PNG makes noise no larger: below the decoder's 20 MB.
KEPT_PIXELS = 4_000_000


def format_of(data: bytes) -> str | None:
    """The format of a file by its contents, as `prepare.convert` calls it; None if it has none."""
    known = detection.detect(data)
    return known or next((name for start, name in SIGNATURES.items() if data.startswith(start)), None)


def to_png(data: bytes, name: str) -> bytes:
    """A photo, or the first page of a file, as PNG: upright, 8 bits, RGB, transparent parts over white."""
    if len(data) > MAX_BYTES:
        raise ImageTooLarge(len(data), MAX_BYTES)
    if name == "HEIC" and not HEIC_SUPPORTED:
        raise ImageFormatUnsupported(name, ACCEPTED)
    try:
        with Image.open(io.BytesIO(data), formats=["HEIF" if name == "HEIC" else name]) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ImageTooManyPixels(f"{image.width} x {image.height} pixels", f"{MAX_PIXELS:,} in all")
            with warnings.catch_warnings():
                # Of damaged metadata, which is not kept.
                warnings.simplefilter("ignore")
                opaque = _opaque(ImageOps.exif_transpose(image))
    except (MemoryError, ImageTooManyPixels):
        raise
    # Pillow's plugins raise whatever broken bytes lead them to.
    except Exception as error:  # noqa: BLE001
        raise ImageDamaged(str(error) or type(error).__name__) from None
    scale = min(1, (KEPT_PIXELS / (opaque.width * opaque.height)) ** 0.5)
    if scale < 1:
        size = max(1, int(opaque.width * scale)), max(1, int(opaque.height * scale))
        opaque = opaque.resize(size, Image.Resampling.BICUBIC)
    target = io.BytesIO()
    opaque.save(target, "PNG")
    return target.getvalue()


def advice(name: str) -> str:
    """What to do about photos of a format that can be converted, in a sentence."""
    how = "" if name != "HEIC" or HEIC_SUPPORTED else " and run `pip install pillow-heif`"
    return (
        f"{name} is not read as it is: set prepare.convert: [{name}] in params.yaml{how}, or save it as JPEG "
        "or PNG"
    )


def _opaque(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        image = _eight_bits(image)
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """16 bits: the upper eight. Of other numbers nobody knows which is white, so their own range is taken."""
    values = np.asarray(image, dtype=np.float32)
    low, high = (
        (0.0, 65535.0) if image.mode.startswith("I;16") else (float(values.min()), float(values.max()))
    )
    scaled = (values - low) * (255 / (high - low)) if high > low else np.zeros_like(values)
    return Image.fromarray(scaled.clip(0, 255).astype(np.uint8))
