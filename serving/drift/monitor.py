"""Compares the last answers with the validation images of the bundle, when somebody asks."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from serving.artifact.confidence import Confidence, Energy, Histogram, Reference
from serving.drift.divergence import Counts, shift, usual_share, usual_shift
from serving.drift.window import Answers, AnswerWindow, Numbers

# With fewer answers nothing is compared: chance alone would move every figure.
MIN_ANSWERS = 100
# Seconds that a summary is kept. With 1,000 classes it takes 6 ms.
KEEP_SECONDS = 5.0


@dataclass(frozen=True)
class Distribution:
    """The same histogram of the validation images and of the answers, [B] each.

    `name` is class, confidence, energy, brightness or size. `edges` [B+1] is None for classes. `shift` and
    `usual` are divergences in bits, 0 to 1, and None if there are fewer than `MIN_ANSWERS` answers.
    """

    name: str
    edges: tuple[float, ...] | None
    reference: Counts
    answers: Counts
    shift: float | None
    usual: float | None

    @property
    def images(self) -> int:
        """The number of validation images."""
        return int(self.reference.sum())

    @property
    def answered(self) -> int:
        """The number of answers; tensors have no size of a file."""
        return int(self.answers.sum())


@dataclass(frozen=True)
class Unfamiliar:
    """The share of answers with an energy below the bundle's threshold, and the one that chance may give."""

    share: float
    usual: float


@dataclass(frozen=True)
class Summary:
    """What the last answers show. `estimated_accuracy` and `unfamiliar` are None if they cannot be told."""

    answers: int
    estimated_accuracy: float | None
    unfamiliar: Unfamiliar | None
    distributions: tuple[Distribution, ...]

    @property
    def enough(self) -> bool:
        """Are there enough answers to say anything?"""
        return self.answers >= MIN_ANSWERS


class DriftMonitor:
    """Summarises the last answers. `test_accuracy` is that of the evaluation, if known."""

    def __init__(
        self,
        confidence: Confidence,
        window: AnswerWindow,
        test_accuracy: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.confidence, self.test_accuracy, self._clock = confidence, test_accuracy, clock
        self.window = window
        self._lock = threading.Lock()
        self._summary, self._summarised_total, self._summarised_at = self._summarise(), 0, 0.0

    def summary(self) -> Summary:
        """The summary of the last answers; at most `KEEP_SECONDS` old if there are enough of them."""
        with self._lock:
            total, now = self.window.total, self._clock()
            kept = self._summary.enough and now < self._summarised_at + KEEP_SECONDS
            if total != self._summarised_total and not kept:
                self._summary, self._summarised_total, self._summarised_at = self._summarise(), total, now
            return self._summary

    def _summarise(self) -> Summary:
        answers = self.window.answers()
        enough = len(answers.classes) >= MIN_ANSWERS
        return Summary(
            len(answers.classes),
            self._estimated_accuracy(answers) if enough else None,
            _unfamiliar(self.confidence.energy, answers.energy),
            tuple(_distributions(self.confidence.reference, answers)),
        )

    def _estimated_accuracy(self, answers: Answers) -> float | None:
        """The mean confidence: of answers with a confidence of 90 %, 90 % are right if it is calibrated."""
        if self.confidence.temperature is None:
            return None
        confidence = _known(answers.confidence)
        return float(confidence.mean()) if len(confidence) >= MIN_ANSWERS else None


def _unfamiliar(energy: Energy | None, energies: Numbers) -> Unfamiliar | None:
    energies = _known(energies)
    if energy is None or len(energies) < MIN_ANSWERS:
        return None
    below = int((energies < energy.threshold).sum())
    usual = usual_share(round(energy.share * energy.images), energy.images, len(energies))
    return Unfamiliar(below / len(energies), usual)


def _distributions(reference: Reference | None, answers: Answers) -> Iterator[Distribution]:
    """All distributions that the bundle has."""
    if reference is None:
        return
    if reference.classes is not None:
        counts = np.bincount(answers.classes, minlength=len(reference.classes))
        yield _compare("class", None, np.array(reference.classes), counts)
    for name in ("confidence", "energy", "brightness", "size"):
        histogram: Histogram | None = getattr(reference, name)
        if histogram is not None:
            counts = _counts(getattr(answers, name), histogram.edges)
            yield _compare(name, histogram.edges, np.array(histogram.counts), counts)


def _counts(values: Numbers, edges: tuple[float, ...]) -> Counts:
    """The histogram of the known values; those outside of the edges are in the first and last bin."""
    counts, _ = np.histogram(np.clip(_known(values), edges[0], edges[-1]), edges)
    return counts


def _compare(name: str, edges: tuple[float, ...] | None, reference: Counts, answers: Counts) -> Distribution:
    if answers.sum() < MIN_ANSWERS:
        return Distribution(name, edges, reference, answers, None, None)
    shifted, usual = shift(reference, answers), usual_shift(reference, answers)
    return Distribution(name, edges, reference, answers, shifted, usual)


def _known(values: Numbers) -> Numbers:
    return values[~np.isnan(values)]
