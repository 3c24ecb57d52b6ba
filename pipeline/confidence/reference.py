"""What is usual for a model: how often it predicts each class, how surely, and how bright the images are."""

import numpy as np

from pipeline.evaluation.metrics import Floats
from serving.artifact.confidence import Histogram, Reference

BINS = 20
# Of the edges of the energy's histogram.
DIGITS = 3


def measure_reference(probabilities: Floats, energies: Floats | None, brightness: Floats) -> Reference:
    """Distributions over N images, from probabilities [N,K], energies [N] and brightness [N], 0 to 1."""
    images, classes = probabilities.shape
    predicted = np.bincount(probabilities.argmax(axis=1), minlength=classes)
    shares = np.arange(BINS + 1) / BINS
    return Reference(
        tuple(map(int, predicted)),
        _histogram(probabilities.max(axis=1), shares),
        None if energies is None else _histogram(energies, _edges(energies)),
        _histogram(brightness, shares),
        None,
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
