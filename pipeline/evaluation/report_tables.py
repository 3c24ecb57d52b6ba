"""The rows of the CSV files in `reports/<model>/`."""

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.evaluation import metrics
from pipeline.evaluation.batch_prediction import Predictions
from pipeline.evaluation.metrics_summary import DIGITS
from pipeline.evaluation.reliability_diagram import ReliabilityCurve
from serving.model.predictor import Predictor

# A confusion matrix of more classes is unreadable; it is then limited to the classes confused most often.
MAX_MATRIX_CLASSES = 50

# The columns of each file, also for a file without rows.
COLUMNS = {
    "predictions.csv": ["image", "actual", "predicted", "confidence", "rank"],
    "classes.csv": ["id", "name", "images", "precision", "recall", "f1"],
    "confusions.csv": ["actual", "predicted", "images"],
    "confusion.csv": ["actual", "predicted"],
    "reliability.csv": ["temperature", "confidence", "accuracy", "images"],
}

Rows = list[dict[str, Any]]


def prediction_rows(folder: Path, names: list[str], predictions: Predictions) -> Rows:
    """predictions.csv: one row per image, in the order of the files."""
    return [
        {
            "image": path.relative_to(folder).as_posix(),
            "actual": names[predictions.actual[index]],
            "predicted": names[predictions.predicted[index]],
            "confidence": f"{predictions.confidence[index]:.4f}",
            "rank": int(predictions.ranks[index]) + 1,
        }
        for index, path in enumerate(predictions.files)
    ]


def class_rows(predictor: Predictor, predictions: Predictions) -> Rows:
    """classes.csv: one row per class, in the order of the model's outputs."""
    found = metrics.class_metrics(predictions.predicted, predictions.actual, len(predictor.labels))
    return [
        {
            "id": label.id,
            "name": label.name,
            "images": int(found.support[number]),
            "precision": round(float(found.precision[number]), DIGITS),
            "recall": round(float(found.recall[number]), DIGITS),
            "f1": round(float(found.f1[number]), DIGITS),
        }
        for number, label in enumerate(predictor.labels)
    ]


def confusion_rows(names: list[str], predictions: Predictions) -> Rows:
    """confusions.csv: wrong predictions by pair of classes, most frequent first."""
    return [
        {"actual": names[actual], "predicted": names[predicted], "images": count}
        for actual, predicted, count in metrics.confusion_counts(predictions.predicted, predictions.actual)
    ]


def matrix_rows(names: list[str], predictions: Predictions, confusions: Rows) -> Rows:
    """confusion.csv, from which DVC draws the confusion matrix: one row per image of the shown classes."""
    shown = set(names)
    if len(names) > MAX_MATRIX_CLASSES:
        most_confused = confusions[: MAX_MATRIX_CLASSES // 2]
        shown = {name for row in most_confused for name in (row["actual"], row["predicted"])}
    pairs = zip(predictions.actual, predictions.predicted, strict=True)
    rows = [{"actual": names[actual], "predicted": names[predicted]} for actual, predicted in pairs]
    return [row for row in rows if row["actual"] in shown and row["predicted"] in shown]


def reliability_rows(predictions: Predictions) -> Rows:
    """reliability.csv: mean confidence and accuracy of each confidence bin, by temperature."""
    return [
        {
            "temperature": "" if curve.temperature is None else f"{curve.temperature:g}",
            "confidence": round(entry.confidence, DIGITS),
            "accuracy": round(entry.accuracy, DIGITS),
            "images": entry.images,
        }
        for curve in reliability_curves(predictions)
        for entry in curve.bins
    ]


def reliability_curves(predictions: Predictions) -> list[ReliabilityCurve]:
    """The curve of the served probabilities; before it, if their temperature is not 1, that without it."""
    record = predictions.confidence_record
    fitted = None if record is None else record.confidence.temperature
    temperature = None if fitted is None else fitted.value
    found = [(temperature, predictions.confidence)]
    if record is not None and temperature not in (None, 1):
        found.insert(0, (1.0, record.uncalibrated.astype(np.float32)))
    return [
        ReliabilityCurve(temperature, metrics.calibration_bins(confidence, predictions.correct))
        for temperature, confidence in found
    ]


def to_csv(rows: Iterable[dict[str, Any]], columns: list[str]) -> bytes:
    """CSV with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
