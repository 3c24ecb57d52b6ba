"""The images that come with scikit-learn: handwritten digits and two photos."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image

# The digits are bitmaps of 32 x 32 in which the pixels of each block of 4 x 4 were counted: 8 x 8 numbers
# from 0 to 16. Source: UCI, "Optical Recognition of Handwritten Digits".
BITMAP_SIDE, BLOCK = 32, 4
# 64 x 64 is large enough to look at.
SIDE = 64


def digit_images() -> Iterator[tuple[str, Image.Image]]:
    """The label and image, grey and 64 x 64 pixels, of each of the 1,797 digits."""
    # Imported here because it takes a second.
    from sklearn.datasets import load_digits

    digits = load_digits()
    for counts, label in zip(digits.images, digits.target, strict=True):
        yield str(label), enlarge(counts)


def enlarge(counts: npt.NDArray[np.float64]) -> Image.Image:
    """The image, grey and 64 x 64 pixels, of 8 x 8 numbers from 0 to 16."""
    grey = Image.fromarray((counts * 255 / BLOCK**2).round().astype(np.uint8))
    return grey.resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def count_blocks(bitmap: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """How many pixels of each block of a bitmap [32,32] are set, as the digits were made: [8,8]."""
    blocks = bitmap.reshape(BITMAP_SIDE // BLOCK, BLOCK, BITMAP_SIDE // BLOCK, BLOCK)
    return np.asarray(blocks.sum(axis=(1, 3)), dtype=np.float64)


def sample_photos() -> list[Image.Image]:
    """Two photos in colour, 640 x 427 pixels: a temple and a flower."""
    from sklearn.datasets import load_sample_images

    return [Image.fromarray(pixels) for pixels in load_sample_images().images]
