"""Without antialiasing, pixels are those of Keras's `Resizing` layer and `image_dataset_from_directory`.

Models are trained on such pixels, so the decoder must give the same ones.
"""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.network.backend import keras
from serving.model.preprocessing import Filter, Preprocessing, Resize
from serving.model.resizing import resize

KERAS_NAMES: dict[Filter, str] = {
    "nearest": "nearest",
    "bilinear": "bilinear",
    "bicubic": "bicubic",
    "lanczos": "lanczos3",
}
# Width and height of images, and height and width of inputs: smaller, larger, equal, odd, flat and tall.
SIZES = [(500, 375), (61, 47), (97, 230), (28, 28), (9, 300)]
TARGETS = [(224, 224), (28, 28), (40, 64), (97, 13), (301, 200)]


def photo(width: int, height: int) -> Image.Image:
    """Edges, gradients and noise, with a contrast that makes the wide filters overshoot."""
    random = np.random.default_rng(width + height)
    down, across = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    shapes = 120 * (np.sin(23 * across * down) > 0) + 90 * across + 60 * down
    pixels = shapes[:, :, None] * np.array([1.0, 0.7, 0.4]) + random.normal(0, 15, (height, width, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def by_keras(image: Image.Image, height: int, width: int, kind: Filter, **options: Any) -> Any:  # noqa: ANN401
    """Keras's float32 pixels, rounded as the decoder does; bicubic and lanczos3 overshoot."""
    pixels = np.asarray(image, dtype=np.float32)
    resized = keras.ops.image.resize(
        pixels, (height, width), KERAS_NAMES[kind], antialias=False, data_format="channels_last", **options
    )
    return np.rint(keras.ops.convert_to_numpy(resized)).clip(0, 255)


@pytest.mark.parametrize("kind", KERAS_NAMES)
@pytest.mark.parametrize(
    ("resizing", "options"), [("squash", {}), ("pad", {"pad_to_aspect_ratio": True})], ids=["squash", "pad"]
)
def test_squash_and_pad(kind: Filter, resizing: Resize, options: dict[str, bool]) -> None:
    for size, (height, width) in ((size, target) for size in SIZES for target in TARGETS):
        image = photo(*size)
        found = resize(image, 1, Preprocessing(height, width, 3, resizing, 1.0, kind, antialias=False))
        difference = np.abs(found - by_keras(image, height, width, kind, **options))
        assert difference.max() <= (0 if kind == "nearest" else 1), (size, height, width)
        # Sums in another order of float32 that lie on the boundary of two grey levels.
        assert (difference > 0).mean() < 0.002, (size, height, width)


@pytest.mark.parametrize("kind", KERAS_NAMES)
def test_crop_where_the_box_lies_on_whole_pixels(kind: Filter) -> None:
    for size, (height, width) in (((500, 374), (28, 28)), ((64, 300), (40, 64)), ((300, 64), (97, 97))):
        image = photo(*size)
        found = resize(image, 1, Preprocessing(height, width, 3, "crop", 1.0, kind, antialias=False))
        difference = np.abs(found - by_keras(image, height, width, kind, crop_to_aspect_ratio=True))
        assert difference.max() <= (0 if kind == "nearest" else 1), (size, height, width)
