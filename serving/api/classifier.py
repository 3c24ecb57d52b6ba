"""From images to classes, under admission control. What every protocol of the server calls."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from serving.api.admission import Admission
from serving.api.errors import ClientGone, DeadlineExceeded, ImageUrlRefused
from serving.api.image_urls import is_url
from serving.api.metrics import Metrics
from serving.api.model_statistics import Tally
from serving.api.request_context import ImageFacts, Trace
from serving.errors import ImageError, ImageTooCostly, ImageUnrecognised
from serving.model.decoder import DecodedImage, Pixels, decode_image
from serving.model.predictor import Predictor, Probabilities

# Seconds in the queue after which it is worth asking whether the client is still there.
PATIENT = 0.02
# What the log calls the format of pixels that came as they are.
TENSOR = "TENSOR"


class ImageRefused(Exception):
    """An image cannot be classified: why, and if there are several, which one (from 0)."""

    def __init__(self, index: int | None, error: ImageError) -> None:
        super().__init__(str(error))
        self.index, self.error = index, error


class Classifier(NamedTuple):
    """A predictor with a door in front of it. `encoded` and `tensors` count."""

    predictor: Predictor
    admission: Admission
    metrics: Metrics
    deadline: float
    encoded: Tally
    tensors: Tally
    # Held by whoever decodes once more what there was no memory for.
    second_try: threading.Lock

    def classify(
        self, images: Sequence[bytes] | Pixels, trace: Trace, gone: Callable[[], bool] = lambda: False
    ) -> list[Probabilities]:
        """Probabilities, float32 [K], for each image, encoded or uint8 [S,S,3].

        `gone`: has the client left meanwhile? Decoding needs the slot too, for that is where the memory goes.
        Raises `ServerBusy`, `DeadlineExceeded`, `ClientGone`, `ImageRefused` or `ImageUrlRefused`.
        """
        with (self.tensors if isinstance(images, np.ndarray) else self.encoded).request(trace):
            return self._classify(images, trace, gone)

    def _classify(
        self, images: Sequence[bytes] | Pixels, trace: Trace, gone: Callable[[], bool]
    ) -> list[Probabilities]:
        # Waiting for a thread was waiting for a slot; reading the body was not.
        asked = time.monotonic() - trace.turn.waited
        with self.admission.slot(asked + self.deadline, self.deadline):
            trace.queue = time.monotonic() - asked
            self.metrics.queue.observe(trace.queue)
            if trace.queue > PATIENT and gone():
                raise ClientGone
            answers = []
            for index, image in enumerate(images):
                try:
                    answers.append(self._one(image, asked, trace))
                except ImageError as error:
                    if isinstance(error, ImageUnrecognised) and isinstance(image, bytes) and is_url(image):
                        raise ImageUrlRefused from None
                    raise ImageRefused(index if len(images) > 1 else None, error) from None
            return answers

    def _one(self, image: bytes | Pixels, asked: float, trace: Trace) -> Probabilities:
        if time.monotonic() - asked > self.deadline:
            raise DeadlineExceeded(self.deadline, self.admission.retry_after())
        pixels = self._decoded(image, trace) if isinstance(image, bytes) else image
        began = time.perf_counter()
        probabilities: Probabilities = self.predictor.predict(pixels[np.newaxis])[0]
        seconds = time.perf_counter() - began
        trace.inference += seconds
        if not isinstance(image, bytes):
            trace.images.append(ImageFacts(TENSOR, image.shape[1], image.shape[0], image.nbytes))
        self.metrics.inference.observe(seconds)
        best = int(probabilities.argmax())
        self.metrics.answer(self.predictor.labels[best].name, float(probabilities[best]))
        return probabilities

    def _decoded(self, data: bytes, trace: Trace) -> Pixels:
        began = time.perf_counter()
        try:
            seen = decode_image(data, self.predictor.preprocessing)
        except MemoryError:
            seen = self._once_more(data)
        seconds = time.perf_counter() - began
        trace.decode += seconds
        trace.images.append(ImageFacts(seen.format, seen.width, seen.height, len(data)))
        self.metrics.decode.observe(seconds)
        return seen.pixels

    def _once_more(self, data: bytes) -> DecodedImage:
        """Decodes while no other picture is tried a second time: one may have taken the memory of many.

        Raises `ImageTooCostly` if there is again too little: then it is this one (see `memory.limit_memory`).
        """
        with self.second_try:
            try:
                return decode_image(data, self.predictor.preprocessing)
            except MemoryError:
                raise ImageTooCostly from None
