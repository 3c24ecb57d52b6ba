"""Images in place of photos, for a model that comes without: to compare conversions, and as golden images."""

import io
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image

# Height and width: with three bytes per pixel still below the size of a golden image.
SHAPE = (180, 240)
COUNT = 8


def generate_images() -> Iterator[bytes]:
    """`COUNT` PNG files, the same bytes everywhere: gradients, stripes, discs and noise in random colours."""
    # Integers and comparisons only: NumPy's generator and these give the same bits on every CPU.
    random = np.random.Generator(np.random.PCG64(1))
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    for number in range(COUNT):
        low, high = random.integers(0, 256, (2, 3))
        centre, radius = random.integers(40, 140, 2), int(random.integers(20, 80))
        masks: tuple[npt.NDArray[np.int64], ...] = (
            columns * 255 // (SHAPE[1] - 1),
            255 * ((rows // int(random.integers(4, 24))) % 2),
            255 * ((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < radius**2),
            random.integers(0, 256, SHAPE),
        )
        share = masks[number % len(masks)][..., np.newaxis]
        pixels = ((low * (255 - share) + high * share) // 255).astype(np.uint8)
        buffer = io.BytesIO()
        # Without compression: compressed bytes would depend on the zlib that Pillow uses.
        Image.fromarray(pixels).save(buffer, "PNG", compress_level=0)
        yield buffer.getvalue()
