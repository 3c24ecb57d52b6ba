"""Compares the float32 ONNX graph with Keras, through `predict` and eagerly: they have differed before."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.evaluation.batch_prediction import Predictions
from pipeline.network.backend import keras
from serving.model.decoder import decode
from serving.model.predictor import Predictor

# Pixels of a batch: eight photos for most networks. Keras's intermediate results are a hundred times as
# large: batches of 32 took 4.0 GB and, as large blocks of memory are zeroed each time, twice the time.
BATCH_PIXELS = 8 * 224**2


@dataclass(frozen=True)
class Agreement:
    """Shares (0 to 1) of images with the same predicted class as ONNX, and the largest difference."""

    predict: float
    eager: float
    max_difference: float


def measure_agreement(predictor: Predictor, model_file: Path, predictions: Predictions) -> Agreement:
    """Runs the bundle's Keras model on the images whose float32 ONNX probabilities were kept, in batches."""
    network = keras.saving.load_model(model_file, compile=False)
    sampled, size = predictions.sampled_probabilities, predictor.preprocessing.size
    indices = list(sampled)
    # All batches have the same size, because Keras compiles `predict` again for another one.
    pixels = np.zeros((batch_size(len(indices), size), size, size, 3), dtype=np.uint8)
    agreeing, max_difference = np.zeros(2), 0.0
    for begin in range(0, len(indices), len(pixels)):
        rows = indices[begin : begin + len(pixels)]
        for position, row in enumerate(rows):
            pixels[position] = decode(predictions.files[row].read_bytes(), predictor.preprocessing)
        expected = np.stack([sampled[row] for row in rows])
        # Many servers call Keras eagerly, without `training=False`, so that must be correct too.
        for mode, found in enumerate((network.predict_on_batch(pixels), network(pixels).numpy())):
            found = found[: len(rows)]
            agreeing[mode] += (found.argmax(axis=1) == expected.argmax(axis=1)).sum()
            max_difference = max(max_difference, float(np.abs(found - expected).max()))
    shares = agreeing / len(indices)
    return Agreement(float(shares[0]), float(shares[1]), max_difference)


def batch_size(images: int, size: int) -> int:
    """Images of `size` x `size` pixels per batch, chosen so that the last batch is nearly full."""
    largest = max(1, BATCH_PIXELS // size**2)
    return -(-images // -(-images // largest))
