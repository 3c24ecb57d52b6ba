"""Selects the test images of the example grid: correct predictions, and the most confident wrong ones."""

import numpy as np

from pipeline.evaluation.batch_prediction import Predictions
from pipeline.evaluation.example_grid import COLUMNS, Example
from serving.model.decoder import decode
from serving.model.predictor import Predictor


def select_examples(predictions: Predictions) -> tuple[list[int], list[int]]:
    """Indices of correct predictions, evenly over the files, and of wrong ones, most confident first."""
    correct = np.flatnonzero(predictions.correct)
    positions = np.unique(np.linspace(0, max(0, len(correct) - 1), COLUMNS).astype(int))
    wrong = sorted(np.flatnonzero(~predictions.correct), key=lambda index: -predictions.confidence[index])
    return correct[positions[: len(correct)]].tolist(), [int(index) for index in wrong[:COLUMNS]]


def load_examples(predictor: Predictor, predictions: Predictions) -> tuple[list[Example], list[Example]]:
    """The selected examples, decoded: correct ones and wrong ones."""
    correct, wrong = select_examples(predictions)
    names = [label.name for label in predictor.labels]

    def load(index: int) -> Example:
        pixels = decode(predictions.files[index].read_bytes(), predictor.preprocessing)
        actual, predicted = names[predictions.actual[index]], names[predictions.predicted[index]]
        return Example(pixels, actual, predicted, float(predictions.confidence[index]))

    return [load(index) for index in correct], [load(index) for index in wrong]
