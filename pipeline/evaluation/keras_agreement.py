"""Do Keras `predict`, Keras called eagerly, and float32 ONNX give the same answers? They did not always."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.evaluation.batch_prediction import Answers
from pipeline.network.backend import keras
from serving.model.decoder import decode
from serving.model.predictor import Predictor

# Pixels of a batch, eight photos for most networks. What Keras computes between its layers is a hundred times
# as large: 32 photos took 4.0 GB and, as memory for large blocks is cleared each time, twice the time.
PIXELS = 8 * 224**2


@dataclass(frozen=True)
class Agreement:
    """Shares (0 to 1) of images with the same winner as ONNX, and the largest difference of a probability."""

    predict: float
    eager: float
    difference: float


def measure(predictor: Predictor, model_file: Path, answers: Answers) -> Agreement:
    """Runs the bundle's Keras model on images that the float32 graph has answered, in batches."""
    network = keras.saving.load_model(model_file, compile=False)
    chosen, size = list(answers.whole), predictor.preprocessing.size
    # All batches have one size, for Keras compiles `predict` anew for another one.
    pixels = np.zeros((batch(len(chosen), size), size, size, 3), dtype=np.uint8)
    same, difference = np.zeros(2), 0.0
    for begin in range(0, len(chosen), len(pixels)):
        rows = chosen[begin : begin + len(pixels)]
        for place, row in enumerate(rows):
            pixels[place] = decode(answers.files[row].read_bytes(), predictor.preprocessing)
        expected = np.stack([answers.whole[row] for row in rows])
        # An eager call without `training=False` is what many servers do, so it is what must be right.
        for way, found in enumerate((network.predict_on_batch(pixels), network(pixels).numpy())):
            found = found[: len(rows)]
            same[way] += (found.argmax(axis=1) == expected.argmax(axis=1)).sum()
            difference = max(difference, float(np.abs(found - expected).max()))
    shares = same / len(chosen)
    return Agreement(float(shares[0]), float(shares[1]), difference)


def batch(images: int, size: int) -> int:
    """How many images of `size` x `size` pixels a batch takes, so that the last one is hardly smaller."""
    most = max(1, PIXELS // size**2)
    return -(-images // -(-images // most))
