"""Images that stand for photos have the same bytes on every machine, and are different from each other."""

import hashlib
import io

import numpy as np
from PIL import Image

from pipeline.importing.generated_images import COUNT, SHAPE, generate_images
from pipeline.stages.export import MAX_GOLDEN_BYTES


def test_their_bytes_never_change() -> None:
    """They are part of bundles without photos, whose digest must not depend on the machine."""
    digest = hashlib.sha256(b"".join(generate_images())).hexdigest()
    assert digest == "e88628d72753c32e93d842f8eee1f4f99774bbc028517c529bcb54ce481eea75"


def test_they_are_varied_and_small_enough_for_golden_images() -> None:
    images = list(generate_images())
    assert len(images) == COUNT
    assert all(len(image) <= MAX_GOLDEN_BYTES for image in images)
    pixels = [np.asarray(Image.open(io.BytesIO(image))) for image in images]
    assert {array.shape for array in pixels} == {(*SHAPE, 3)}
    assert all(array.std() > 10 for array in pixels)
    assert len({array.tobytes() for array in pixels}) == COUNT
