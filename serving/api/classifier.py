"""From encoded images to classes, under admission control. What every protocol of the server calls."""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from serving.api.admission import Admission
from serving.api.errors import ClientGone, DeadlineExceeded
from serving.api.metrics import Metrics
from serving.api.trace import ImageFacts, Trace
from serving.decoder import picture
from serving.errors import ImageError
from serving.predictor import Predictor, Probabilities

# Seconds in the queue after which it is worth asking whether the client is still there.
PATIENT = 0.02


class ImageRefused(Exception):
    """An image cannot be classified: why, and if there are several, which one (from 0)."""

    def __init__(self, index: int | None, error: ImageError) -> None:
        super().__init__(str(error))
        self.index, self.error = index, error


class Classifier(NamedTuple):
    """A predictor with a door in front of it."""

    predictor: Predictor
    admission: Admission
    metrics: Metrics
    deadline: float

    def classify(
        self, images: Sequence[bytes], trace: Trace, gone: Callable[[], bool] = lambda: False
    ) -> list[Probabilities]:
        """Probabilities, float32 [K], for each encoded image. `gone`: has the client left meanwhile?

        Decoding needs the slot too, for that is where the memory goes. Raises `ServerBusy`,
        `DeadlineExceeded`, `ClientGone` or `ImageRefused`.
        """
        asked = time.monotonic()
        with self.admission.slot(asked + self.deadline, self.deadline):
            trace.queue = time.monotonic() - asked
            self.metrics.queue.observe(trace.queue)
            if trace.queue > PATIENT and gone():
                raise ClientGone
            answers = []
            for index, data in enumerate(images):
                try:
                    answers.append(self._one(data, asked, trace))
                except ImageError as error:
                    raise ImageRefused(index if len(images) > 1 else None, error) from None
            return answers

    def _one(self, data: bytes, asked: float, trace: Trace) -> Probabilities:
        if time.monotonic() - asked > self.deadline:
            raise DeadlineExceeded(self.deadline, self.admission.retry_after())
        began = time.perf_counter()
        seen = picture(data, self.predictor.preprocessing)
        decoded = time.perf_counter()
        probabilities: Probabilities = self.predictor.predict(seen.pixels[np.newaxis])[0]
        done = time.perf_counter()
        trace.decode += decoded - began
        trace.inference += done - decoded
        trace.images.append(ImageFacts(seen.format, seen.width, seen.height, len(data)))
        self.metrics.decode.observe(decoded - began)
        self.metrics.inference.observe(done - decoded)
        self.metrics.answer(self.predictor.top(probabilities, 1)[0])
        return probabilities
