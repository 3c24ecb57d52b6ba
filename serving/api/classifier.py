"""Classifies images under admission control. All routes and protocols call `Classifier.classify`."""

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from serving.api.admission_control import AdmissionControl
from serving.api.errors import ClientGone, DeadlineExceeded, ExplanationTooSlow, ImageUrlRefused
from serving.api.image_urls import is_url
from serving.api.metrics import Metrics
from serving.api.request_context import ImageFacts, RequestContext
from serving.api.result_cache import CachedAnswer
from serving.api.served_model import ServedModel
from serving.drift.brightness import brightness
from serving.errors import ImageError, ImageTooCostly, ImageUnrecognised
from serving.explanation.explainer import PREDICTIONS, Explanation, Method
from serving.explanation.heatmap import draw_heatmap
from serving.model.decoder import DecodedImage, Pixels, Preprocessing, decode_image
from serving.model.predictor import Prediction
from serving.updates.trial import Sample

# Seconds in the queue after which the connection is checked before work begins.
DISCONNECT_CHECK_AFTER = 0.02
# Format name in the log for images that were sent as pixels.
TENSOR = "TENSOR"


class ImageRefused(Exception):
    """An image cannot be classified: the reason and, if the request has several images, its index from 0."""

    def __init__(self, index: int | None, error: ImageError) -> None:
        super().__init__(str(error))
        self.index, self.error = index, error


class ExplainedImage(NamedTuple):
    """An image, the class with this number and probability, and why it is of that class.

    `picture` is a PNG; None if it was not asked for.
    """

    image: DecodedImage
    number: int
    score: float
    explanation: Explanation
    picture: bytes | None


class Deadline(NamedTuple):
    """When a request began (monotonic), and the seconds that it may take."""

    began: float
    seconds: float
    admission: AdmissionControl

    @property
    def left(self) -> float:
        """Seconds left; negative after the deadline."""
        return self.began + self.seconds - time.monotonic()

    def check(self) -> None:
        """Raises `DeadlineExceeded` after the deadline."""
        if self.left < 0:
            raise DeadlineExceeded(self.seconds, self.admission.retry_after())


class Classifier(NamedTuple):
    """Runs models under admission control, which they share."""

    admission: AdmissionControl
    metrics: Metrics
    deadline: float
    # Held while an image is decoded a second time, after the first attempt ran out of memory.
    retry_lock: threading.Lock

    def classify(
        self,
        model: ServedModel,
        images: Sequence[bytes] | Pixels,
        context: RequestContext,
        client_disconnected: Callable[[], bool] = lambda: False,
        observe: Callable[[Sample], None] | None = None,
    ) -> list[Prediction]:
        """A prediction of a model for each image, encoded or uint8 [H,W,C].

        `observe` is called with each of them. Decoding happens within the slot too, because it takes most of
        the memory.
        Raises `ServerBusy`, `DeadlineExceeded`, `ClientGone`, `ImageRefused` or `ImageUrlRefused`.
        """
        is_tensor = isinstance(images, np.ndarray)
        statistics = model.tensor_statistics if is_tensor else model.image_statistics
        with statistics.request(context), self._slot(context, client_disconnected) as deadline:
            predictions = []
            for index, image in enumerate(images):
                deadline.check()
                try:
                    sample = self._predict(model, image, context)
                except ImageError as error:
                    raise _refusal(image, index if len(images) > 1 else None, error) from None
                predictions.append(sample.prediction)
                if observe:
                    observe(sample)
            return predictions

    def recall(
        self, model: ServedModel, answers: Sequence[CachedAnswer], context: RequestContext
    ) -> list[Prediction]:
        """The predictions of the result cache, counted as if the images had been classified again."""
        statistics = model.image_statistics if answers[0].size else model.tensor_statistics
        with statistics.request(context):
            for answer in answers:
                context.images.append(answer.facts)
                self._count_answer(model, answer.prediction, answer.brightness, answer.size)
        return [answer.prediction for answer in answers]

    def explain(
        self,
        model: ServedModel,
        image: bytes,
        number: int | None,
        method: Method | None,
        as_picture: bool,
        context: RequestContext,
        client_disconnected: Callable[[], bool] = lambda: False,
    ) -> ExplainedImage:
        """Explains why an image is of the class with this number; None: of the most probable class.

        All predictions of an explanation, and the picture, are made within one slot and one deadline. Raises
        as `classify`, and `ExplanationTooSlow`.
        """
        with self._slot(context, client_disconnected) as deadline:

            def check() -> None:
                deadline.check()
                if client_disconnected():
                    raise ClientGone

            check()
            try:
                decoded = self._decode(model, image, context)
            except ImageError as error:
                raise _refusal(image, None, error) from None
            began = time.perf_counter()
            probabilities = model.predictor.predict_one(decoded.pixels).probabilities
            number = int(probabilities.argmax()) if number is None else number
            score, method = float(probabilities[number]), method or model.explainer.methods[0]
            needed = PREDICTIONS * (time.perf_counter() - began)
            if method == "occlusion" and needed > deadline.left:
                raise ExplanationTooSlow(needed, self.deadline)
            explanation = model.explainer.explain(decoded.pixels, number, score, method, check)
            picture = draw_heatmap(decoded.pixels, explanation.values) if as_picture else None
            seconds = time.perf_counter() - began
            context.inference += seconds
            context.record_step("inference", seconds)
            return ExplainedImage(decoded, number, score, explanation, picture)

    @contextmanager
    def _slot(self, context: RequestContext, client_disconnected: Callable[[], bool]) -> Iterator[Deadline]:
        """Holds a slot, and gives the request's deadline."""
        # The wait for a thread counts as queueing; receiving the body does not.
        deadline = Deadline(time.monotonic() - context.timing.waited, self.deadline, self.admission)
        with self.admission.slot(deadline.began + self.deadline, self.deadline):
            context.queue = time.monotonic() - deadline.began
            context.record_step("queue", context.queue)
            self.metrics.queue.observe(context.queue)
            if context.queue > DISCONNECT_CHECK_AFTER and client_disconnected():
                raise ClientGone
            yield deadline

    def _predict(self, model: ServedModel, image: bytes | Pixels, context: RequestContext) -> Sample:
        if isinstance(image, bytes):
            decoded = self._decode(model, image, context)
            pixels, size = decoded.pixels, decoded.size
        else:
            pixels, size = image, None
        inference_began = time.perf_counter()
        prediction = model.predictor.predict_one(pixels)
        seconds = time.perf_counter() - inference_began
        context.inference += seconds
        context.record_step("inference", seconds)
        if not isinstance(image, bytes):
            context.images.append(ImageFacts(TENSOR, image.shape[1], image.shape[0], image.nbytes))
        self.metrics.inference.labels(model.pin.name).observe(seconds)
        self._count_answer(model, prediction, brightness(pixels), size)
        return Sample(model, image if isinstance(image, bytes) else None, pixels, prediction, seconds, size)

    def _count_answer(
        self, model: ServedModel, prediction: Prediction, light: float, size: float | None
    ) -> None:
        best = int(prediction.probabilities.argmax())
        score = float(prediction.probabilities[best])
        if not math.isfinite(score):
            # One would make the sums of all answers useless.
            return
        self.metrics.count_answer(model.pin.name, model.labels[best].name, score)
        if model.drift:
            model.drift.window.add(best, score, prediction.energy, light, size)

    def _decode(self, model: ServedModel, data: bytes, context: RequestContext) -> DecodedImage:
        began = time.perf_counter()
        try:
            decoded = decode_image(data, model.predictor.preprocessing)
        except MemoryError:
            decoded = self._decode_alone(data, model.predictor.preprocessing)
        seconds = time.perf_counter() - began
        context.decode += seconds
        context.record_step("decode", seconds)
        context.images.append(ImageFacts(decoded.format, decoded.width, decoded.height, len(data)))
        self.metrics.decode.observe(seconds)
        return decoded

    def _decode_alone(self, data: bytes, preprocessing: Preprocessing) -> DecodedImage:
        """Decodes again with no other retry running: one large image may have used the memory of many.

        Raises `ImageTooCostly` if memory runs out again: then it is the cause (see `memory.MemoryLimit`).
        """
        with self.retry_lock:
            try:
                return decode_image(data, preprocessing)
            except MemoryError:
                raise ImageTooCostly from None


def _refusal(image: bytes | Pixels, index: int | None, error: ImageError) -> ImageRefused | ImageUrlRefused:
    is_address = isinstance(error, ImageUnrecognised) and isinstance(image, bytes) and is_url(image)
    return ImageUrlRefused() if is_address else ImageRefused(index, error)
