"""A trial: two versions classify the same images, and their answers are compared.

One version answers the client. The other one classifies the same pixels later, when a slot is idle.
"""

import hashlib
import threading
import time
from collections import OrderedDict
from typing import NamedTuple

import numpy as np

from serving.api.served_model import ServedModel
from serving.model.decoder import Pixels, decode
from serving.model.predictor import Prediction
from serving.trial.comparison import Answer, AnswerPair, compare_answers
from serving.trial.counts import COUNT_NUMBERS, Counts, LabelCounts
from serving.trial.decision import Decision, Rules, judge
from serving.workers.shared_folder import SharedFolder
from serving.workers.shared_numbers import SharedNumbers

# An image that was sent again says nothing new. So many of the last ones are remembered, 16 bytes of each.
REMEMBERED, HASH_BYTES = 10_000, 16


class Sample(NamedTuple):
    """An image that the model `answered_by` has classified in so many seconds.

    `encoded` is the image as it was sent, None if it was sent as pixels.
    """

    answered_by: ServedModel
    encoded: bytes | None
    pixels: Pixels
    prediction: Prediction
    seconds: float
    # Square root of the number of pixels of the file; None if it was sent as pixels.
    size: float | None


class Trial:
    """Compares a candidate with the active version. Thread-safe.

    The counts are those of all workers, in files with this name.
    """

    def __init__(
        self, active: ServedModel, candidate: ServedModel, rules: Rules, folder: SharedFolder, name: str
    ) -> None:
        self.active, self.candidate, self.rules, self.name = active, candidate, rules, name
        self._counts = SharedNumbers(folder, f"trial-{name}", COUNT_NUMBERS)
        empty = LabelCounts.empty(len(active.labels))
        numbers = len(empty.to_numbers()) if empty else 0
        self._by_label = SharedNumbers(folder, f"trial-labels-{name}", numbers) if empty else None
        self._seen: OrderedDict[bytes, None] = OrderedDict()
        self._lock = threading.Lock()

    def compare(self, sample: Sample) -> None:
        """Classifies a sample with the other version, and counts how the two answers compare."""
        if self._is_repeated(sample.pixels):
            return
        try:
            pair = self._classify_both(sample)
        except MemoryError:
            # Of this server, not of the candidate.
            pair = None
        if pair is None:
            self.drop()
            return
        self._counts.add(Counts.of(pair).to_numbers())
        if self._by_label:
            self._by_label.add(LabelCounts.of(pair, len(self.active.labels)).to_numbers())

    def _classify_both(self, sample: Sample) -> AnswerPair | None:
        given = _answer(sample.answered_by, sample.prediction, sample.seconds)
        if sample.answered_by.pin.digest == self.candidate.pin.digest:
            # Both are timed here: while the client was answered, other requests may have run beside it.
            active = _answer(self.active, *_classify(self.active, sample))
            given = given._replace(seconds=_classify(self.candidate, sample)[1])
            return compare_answers(active, given, self.rules.max_slowdown)
        candidate = _answer(self.candidate, *_classify(self.candidate, sample))
        return compare_answers(given, candidate, self.rules.max_slowdown)

    def fail(self, image: bytes | Pixels) -> None:
        """Counts an image for which the candidate had no answer; once, however often it is sent."""
        if self._is_repeated(image):
            return
        self._counts.add(Counts(compared=1, failed=1).to_numbers())

    def drop(self) -> None:
        """Counts a sample that was not compared."""
        self._counts.add(Counts(dropped=1).to_numbers())

    def counts(self) -> Counts:
        """The counts of all workers."""
        return Counts.from_numbers(self._counts.total())

    def label_counts(self) -> LabelCounts | None:
        """The same by label of the active version; None if there are too many labels."""
        return LabelCounts.from_numbers(self._by_label.total()) if self._by_label else None

    def decision(self) -> Decision:
        """What the counts say by now. The first final decision counts."""
        return judge(self.counts(), self.rules)

    def _is_repeated(self, image: bytes | Pixels) -> bool:
        """Was this image compared before? Monitors and impatient clients send the same one repeatedly."""
        # Every fourth pixel in each direction: enough to know an image again, and a sixteenth of the time.
        data = image if isinstance(image, bytes) else np.ascontiguousarray(image[::4, ::4]).data
        key = hashlib.blake2b(data, digest_size=HASH_BYTES).digest()
        with self._lock:
            if key in self._seen:
                return True
            self._seen[key] = None
            if len(self._seen) > REMEMBERED:
                self._seen.popitem(last=False)
        return False


def _answer(model: ServedModel, prediction: Prediction | None, seconds: float) -> Answer:
    return Answer(prediction, model.label_names, seconds)


def _classify(model: ServedModel, sample: Sample) -> tuple[Prediction | None, float]:
    """The prediction of another model for a sample, and its seconds; None if it fails."""
    try:
        pixels = _pixels_for(model, sample)
        began = time.perf_counter()
        return model.predictor.predict_one(pixels), time.perf_counter() - began
    except MemoryError:
        raise
    # Whatever else it raises: a client would have had no answer.
    except Exception:  # noqa: BLE001
        return None, 0.0


def _pixels_for(model: ServedModel, sample: Sample) -> Pixels:
    """The pixels of the client's answer, or others if this model wants another size or part of the image."""
    wanted = model.predictor.preprocessing
    if sample.encoded is None or wanted == sample.answered_by.predictor.preprocessing:
        return sample.pixels
    return decode(sample.encoded, wanted)
