"""Compares the served graph with the original model, in its own framework, on the same pixels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.errors import PredictionsVary
from pipeline.importing.declaration import Declaration
from pipeline.model_files.model_file import Head, ModelFile
from pipeline.onnx.served_graph import head_probabilities, scale_pixels
from serving.model.decoder import decode
from serving.model.predictor import create_session

# Images in a batch of the original framework, whose intermediate results take much memory.
BATCH = 8


@dataclass(frozen=True)
class ConversionCheck:
    """The comparison on `images`: the share with the same best class, and a bound of the largest difference.

    The bound is the next power of ten, because the last digits differ between CPUs, and the file that records
    it must not.
    """

    images: int
    generated: bool
    same_top1: float
    largest_difference: float


def check_conversion(
    file: ModelFile,
    graph: bytes,
    declaration: Declaration,
    head: Head,
    images: Sequence[bytes],
    generated: bool,
) -> ConversionCheck:
    """Predicts encoded images with the original and with the graph.

    Raises `PredictionsVary` if the original gives two answers for one image.
    """
    session, scaling = create_session(graph, 1, avoid_saturation=False), declaration.scaling(file.description)
    same, largest = 0, 0.0
    for begin in range(0, len(images), BATCH):
        pixels = np.stack([decode(data, declaration.preprocessing) for data in images[begin : begin + BATCH]])
        values = scale_pixels(pixels, scaling, declaration.channels == "BGR")
        expected = head_probabilities(file.predict(values), head)
        if begin == 0 and not np.array_equal(expected, head_probabilities(file.predict(values), head)):
            raise PredictionsVary(file.description.file)
        # One by one, as the server does: an answer must not depend on the other images of a batch.
        found = np.concatenate([session.run(None, {"image": image[np.newaxis]})[0] for image in pixels])
        same += int((found.argmax(axis=1) == expected.argmax(axis=1)).sum())
        largest = max(largest, float(np.abs(found - expected).max()))
    return ConversionCheck(len(images), generated, same / len(images), _next_power_of_ten(largest))


def _next_power_of_ten(value: float) -> float:
    """The smallest power of ten, from 1e-6 on, that is not below the value."""
    return 10.0 ** max(-6, math.ceil(math.log10(value))) if value > 0 else 1e-6
