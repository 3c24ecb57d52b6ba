"""Checks predictions: waits for the first correct one, and counts the correct ones over all photos."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import requests

from benchmarks.errors import NotStarted
from benchmarks.serving.contenders import Contender
from benchmarks.serving.processes import ProcessTree
from benchmarks.serving.project import LabelledPhoto, ServedBundle
from benchmarks.serving.wire_formats import is_class
from serving.artifact.bundle import Label

# Seconds. Ray needs half a minute to start on a busy machine.
START_TIMEOUT = 120.0
RETRY_INTERVAL = 0.02
# Seconds for one request, so that a hanging server does not stop the benchmark.
REQUEST_TIMEOUT = 10.0
THREADS = 4


@dataclass(frozen=True)
class Reference:
    """A bundle's own predictions, made in this process: the index of the top class of each photo.

    The probe is the photo with the highest probability for its actual class.
    """

    labels: tuple[Label, ...]
    photos: tuple[LabelledPhoto, ...]
    top_classes: tuple[int, ...]
    probe: LabelledPhoto

    @classmethod
    def predict(cls, bundle: ServedBundle, photos: Sequence[LabelledPhoto]) -> "Reference":
        with ThreadPoolExecutor(THREADS) as pool:
            rows = list(pool.map(lambda photo: bundle.predictor.classify(photo.path.read_bytes()), photos))
        top_classes = tuple(int(np.argmax(row)) for row in rows)
        confidence = [row[photo.actual] for row, photo in zip(rows, photos, strict=True)]
        return cls(bundle.predictor.labels, tuple(photos), top_classes, photos[int(np.argmax(confidence))])


@dataclass(frozen=True)
class Accuracy:
    """Numbers of photos: sent, with a prediction, with the actual class, with the reference's class."""

    asked: int
    answered: int
    right: int
    agree: int


def wait_for_correct(
    contender: Contender, url: str, tree: ProcessTree, reference: Reference, started: float
) -> float:
    """Sends the probe until the prediction is correct; returns the seconds since `started`.

    Raises `NotStarted` after `START_TIMEOUT`, or when the contender exits.
    """
    photo, label = reference.probe.path.read_bytes(), reference.labels[reference.probe.actual]
    reason = "it does not listen"
    while time.monotonic() < started + START_TIMEOUT and not tree.has_exited():
        top_class = request_top_class(contender, url, photo)
        if top_class is not None and is_class(top_class, label):
            return time.monotonic() - started
        reason = f"it classifies {label.name} as {top_class}" if top_class else tree.reason()
        time.sleep(RETRY_INTERVAL)
    raise NotStarted(
        time.monotonic() - started, f"it ended: {tree.reason()}" if tree.has_exited() else reason
    )


def request_top_class(contender: Contender, url: str, photo: bytes) -> str | None:
    """The top class of one photo; None without a valid response."""
    wire_format = contender.wire_format
    try:
        response = requests.post(
            url, data=wire_format.encode(photo), headers=wire_format.headers, timeout=REQUEST_TIMEOUT
        )
        return wire_format.top_class(response.content) if response.ok else None
    except (requests.RequestException, ValueError, LookupError, TypeError):
        return None


def measure_accuracy(contender: Contender, url: str, reference: Reference) -> Accuracy:
    """Sends every photo, a few at a time."""
    photos, labels = reference.photos, reference.labels
    with ThreadPoolExecutor(THREADS) as pool:
        predicted = list(
            pool.map(lambda photo: request_top_class(contender, url, photo.path.read_bytes()), photos)
        )
    valid = [
        (top_class, labels[photo.actual], labels[expected])
        for top_class, photo, expected in zip(predicted, photos, reference.top_classes, strict=True)
        if top_class is not None
    ]
    return Accuracy(
        asked=len(photos),
        answered=len(valid),
        right=sum(is_class(top_class, actual) for top_class, actual, _ in valid),
        agree=sum(is_class(top_class, expected) for top_class, _, expected in valid),
    )
