"""The bundle as an MLflow `python_function`: encoded images in, the five best classes out.

MLflow imports this module from the folder `code/` of the bundle, so it works anywhere. That code runs
before its digest can be checked; SECURITY.md describes how to check it first.
"""

import base64
import io
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from serving.artifact.bundle import Bundle
from serving.errors import ImageUnrecognised, InputUnsupported
from serving.model.predictor import Predictor, Probabilities

# Modes that PNG stores without loss; other images are converted to RGB, as in the decoder.
PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
# Types of a single image, which is accepted in place of a list.
SINGLE_IMAGE_TYPES = (bytes, bytearray, memoryview, str, Image.Image)


class ImageClassifier:
    """The model that `mlflow.pyfunc.load_model(...)` wraps."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    def predict(self, images: Any) -> list[list[dict[str, Any]]]:  # noqa: ANN401  (a pandas object)
        """Classifies images. Item i of the result lists label, id and score of image i, best first.

        `images` is a DataFrame with one column, which MLflow makes of a list or a DataFrame under the model's
        signature, or a plain list. An image is the bytes of its file, the same as base64 or as a data URL, or
        an image of Pillow; anything else raises `InputUnsupported`. Paths and URLs are not opened, because
        behind a server they would come from clients.
        """
        return [
            [asdict(score) for score in self.predictor.top(self._classify(image))]
            for image in _to_iterable(images)
        ]

    def _classify(self, image: object) -> Probabilities:
        data = _to_bytes(image)
        try:
            return self.predictor.classify(data)
        except ImageUnrecognised:
            # A file name may happen to be valid base64.
            if isinstance(image, str):
                raise InputUnsupported("text that is not an image in base64") from None
            raise


def _to_iterable(images: Any) -> Iterable[object]:  # noqa: ANN401
    if isinstance(images, SINGLE_IMAGE_TYPES):
        return [images]
    if hasattr(images, "columns"):
        column: Iterable[object] = images.iloc[:, 0]
        return column
    if isinstance(images, dict) or not isinstance(images, Iterable):
        raise InputUnsupported(_type_name(images))
    return images


def _to_bytes(image: object) -> bytes:
    """The encoded image, from any of the accepted types."""
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if isinstance(image, str):
        return _decode_base64(image)
    if isinstance(image, Image.Image):
        return _encode_png(image)
    raise InputUnsupported(_type_name(image))


def _decode_base64(text: str) -> bytes:
    if text.startswith("data:"):
        text = text.partition(";base64,")[2]
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except ValueError:
        data = b""
    if not data:
        raise InputUnsupported("text that is not an image in base64")
    return data


def _encode_png(image: Image.Image) -> bytes:
    """The pixels of an image of Pillow, turned upright by its EXIF orientation, as a PNG file."""
    buffer = io.BytesIO()
    try:
        upright = ImageOps.exif_transpose(image)
        storable = upright if upright.mode in PNG_MODES else upright.convert("RGB")
        storable.save(buffer, "PNG", compress_level=1)
    # Pillow reads the file only here; it may be closed or damaged.
    except (OSError, ValueError, SyntaxError) as error:
        raise InputUnsupported(f"an image of Pillow that cannot be read ({error})") from None
    return buffer.getvalue()


def _type_name(value: object) -> str:
    return f"an object of the type {type(value).__name__}"


def _load_pyfunc(path: str) -> ImageClassifier:
    """MLflow's entry point; `path` is the bundle's folder. All files are verified before any is parsed."""
    Bundle.open(Path(path)).verify()
    return ImageClassifier(Predictor.open(Path(path)))
