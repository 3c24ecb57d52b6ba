"""Brightness is the mean of all pixels of small images, and close to it for large ones."""

from fractions import Fraction

import numpy as np
import pytest

from serving.drift.brightness import PLACES, brightness
from serving.model.decoder import Pixels, decode
from serving.model.preprocessing import Preprocessing
from tests.serving.images import CORPUS


def noise(*shape: int) -> Pixels:
    return np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("shape", [(1, 1, 1), (8, 8, 3), (PLACES, PLACES, 1), (7, PLACES, 3)])
def test_small_images_to_the_last_bit(shape: tuple[int, int, int]) -> None:
    pixels = noise(*shape)
    assert brightness(pixels) == float(Fraction(int(pixels.sum(dtype=np.int64)), 255 * pixels.size))


@pytest.mark.parametrize("shape", [(33, 33, 3), (224, 224, 3), (100, 9, 1), (1024, 1024, 3)])
def test_large_images(shape: tuple[int, int, int]) -> None:
    light, dark = np.full(shape, 255, np.uint8), np.zeros(shape, np.uint8)
    assert (brightness(light), brightness(dark)) == (1, 0)
    # From black at the top to white at the bottom: all parts have the same weight.
    ramp = np.broadcast_to(np.linspace(0, 255, shape[0])[:, np.newaxis, np.newaxis], shape).astype(np.uint8)
    assert brightness(ramp) == pytest.approx(ramp.mean() / 255, abs=0.02)


@pytest.mark.parametrize("name", ["png rgba", "jpeg grey"])
def test_pictures(name: str) -> None:
    pixels = decode(CORPUS[name][0], Preprocessing.square(224, crop=1.0))
    assert brightness(pixels) == pytest.approx(pixels.mean() / 255, abs=0.02)


def test_the_layout_in_memory_is_of_no_consequence() -> None:
    pixels = noise(224, 200, 3)
    assert brightness(np.asfortranarray(pixels)) == brightness(pixels)
