"""Do Keras `predict`, Keras called eagerly, and float32 ONNX give the same answers? They did not always."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.answers import Answers
from pipeline.backend import keras
from serving.decoder import decode
from serving.predictor import Predictor

# Two more passes through Keras are slow; so many images are enough to notice one in a hundred that differs.
IMAGES = 1000
BATCH = 32


@dataclass(frozen=True)
class Agreement:
    """Shares (0 to 1) of images with the same winner as ONNX, and the largest difference of a probability."""

    predict: float
    eager: float
    difference: float


def measure(predictor: Predictor, model_file: Path, answers: Answers) -> Agreement:
    """Runs the bundle's Keras model on the images that the float32 graph has answered, in batches."""
    network = keras.saving.load_model(model_file, compile=False)
    # Evenly over the classes, which are in order.
    step = -(-len(answers.files) // IMAGES)
    chosen = range(0, len(answers.files), step)
    same, difference = np.zeros(2), 0.0
    for begin in range(0, len(chosen), BATCH):
        rows = list(chosen[begin : begin + BATCH])
        pixels = np.stack([decode(answers.files[row].read_bytes(), predictor.preprocessing) for row in rows])
        expected = answers.probabilities[rows]
        # An eager call without `training=False` is what many servers do, so it is what must be right.
        for way, found in enumerate((network.predict_on_batch(pixels), network(pixels).numpy())):
            same[way] += (found.argmax(axis=1) == expected.argmax(axis=1)).sum()
            difference = max(difference, float(np.abs(found - expected).max()))
    shares = same / len(chosen)
    return Agreement(float(shares[0]), float(shares[1]), difference)
