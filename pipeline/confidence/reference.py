"""What is usual for a model: how often it predicts each class, how surely, and how its images are.

The server compares these distributions of the validation images with those of the images that it gets.
"""

import numpy as np

from pipeline.evaluation.metrics import Floats
from serving.artifact.confidence import Histogram, Reference

BINS = 20
# Of the edges of the energy's histogram.
DIGITS = 3
# Edges of the histogram of sizes, each the last one times the square root of 2: from the decoder's `MIN_SIDE`
# to more than the square root of its `MAX_PIXELS_SCALED`. Rounded, so that every CPU has the same numbers.
SIZES = np.array([round(8 * 2 ** (step / 2), 1) for step in range(23)])


def measure_reference(
    probabilities: Floats, energies: Floats | None, brightness: Floats, sizes: Floats
) -> Reference:
    """Distributions over N images, from probabilities [N,K], energies [N], brightness [N] and sizes [N].

    Brightness is from 0 to 1, and a size the square root of the number of pixels of a file.
    """
    images, classes = probabilities.shape
    predicted = np.bincount(probabilities.argmax(axis=1), minlength=classes)
    shares = np.arange(BINS + 1) / BINS
    return Reference(
        tuple(map(int, predicted)),
        _histogram(probabilities.max(axis=1), shares),
        None if energies is None else _histogram(energies, _edges(energies)),
        _histogram(brightness, shares),
        _histogram(sizes, SIZES),
        images,
    )


def _edges(values: Floats) -> Floats:
    """Equal bins over the range of the values, which is widened to `DIGITS` decimals."""
    low, high = (np.floor(values.min() * 10**DIGITS), np.ceil(values.max() * 10**DIGITS))
    edges: Floats = np.round(np.linspace(low, max(high, low + BINS), BINS + 1)) / 10**DIGITS
    return edges


def _histogram(values: Floats, edges: Floats) -> Histogram:
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    return Histogram(tuple(map(float, edges)), tuple(map(int, counts)), len(values))
