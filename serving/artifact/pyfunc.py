"""The bundle as an MLflow `python_function`: encoded images in, the five best classes out.

MLflow finds this module in the bundle's own `code/` folder, so it works from any directory. That also means
that MLflow runs what lies there before anything can be checked; SECURITY.md says how to check it first.
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

# What PNG can store without loss; other images are made RGB, as the decoder does.
STORED = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
# One image where a list of them is asked for.
SINGLE = (bytes, bytearray, memoryview, str, Image.Image)


class ImageClassifier:
    """What `mlflow.pyfunc.load_model(...)` wraps."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    def predict(self, images: Any) -> list[list[dict[str, Any]]]:  # noqa: ANN401  (a pandas object)
        """Classifies images; the i-th answer lists label, id and score, best first.

        `images` is what MLflow makes of a list or a DataFrame under the model's signature: a DataFrame with
        one column. A plain list does as well. An image is its file's bytes, the same as base64 or as a data
        URL, or an image of Pillow; anything else is an `InputUnsupported`. Paths and URLs are not opened:
        behind a server they would come from strangers.
        """
        return [
            [asdict(score) for score in self.predictor.top(self._answer(image))] for image in _listed(images)
        ]

    def _answer(self, image: object) -> Probabilities:
        data = _encoded(image)
        try:
            return self.predictor.answer(data)
        except ImageUnrecognised:
            # Names of files may be valid base64, of nothing.
            if isinstance(image, str):
                raise InputUnsupported("text that is not an image in base64") from None
            raise


def _listed(images: Any) -> Iterable[object]:  # noqa: ANN401
    if isinstance(images, SINGLE):
        return [images]
    if hasattr(images, "columns"):
        column: Iterable[object] = images.iloc[:, 0]
        return column
    if isinstance(images, dict) or not isinstance(images, Iterable):
        raise InputUnsupported(_kind(images))
    return images


def _encoded(image: object) -> bytes:
    """An encoded image, in whichever of the accepted ways it was given."""
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if isinstance(image, str):
        return _from_base64(image)
    if isinstance(image, Image.Image):
        return _png(image)
    raise InputUnsupported(_kind(image))


def _from_base64(text: str) -> bytes:
    if text.startswith("data:"):
        text = text.partition(";base64,")[2]
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except ValueError:
        data = b""
    if not data:
        raise InputUnsupported("text that is not an image in base64")
    return data


def _png(image: Image.Image) -> bytes:
    """The pixels of an image of Pillow, upright, as a file that the decoder reads."""
    written = io.BytesIO()
    try:
        upright = ImageOps.exif_transpose(image)
        stored = upright if upright.mode in STORED else upright.convert("RGB")
        stored.save(written, "PNG", compress_level=1)
    # Pillow reads the file only now: it may be closed, or broken.
    except (OSError, ValueError, SyntaxError) as error:
        raise InputUnsupported(f"an image of Pillow that cannot be read ({error})") from None
    return written.getvalue()


def _kind(found: object) -> str:
    return f"an object of the type {type(found).__name__}"


def _load_pyfunc(path: str) -> ImageClassifier:
    """MLflow's entry point; `path` is the bundle's folder. Every file is checked before one is opened."""
    Bundle.open(Path(path)).verify()
    return ImageClassifier(Predictor.open(Path(path)))
