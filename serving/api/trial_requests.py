"""Requests while a candidate is on trial: which version answers, and what is compared afterwards."""

import hashlib
import random
from collections.abc import Sequence
from functools import partial

from flask import Request, g

from serving.api.access_control import KEY_NAME, networks_of
from serving.api.classifier import Classifier
from serving.api.client_connection import client_disconnected
from serving.api.errors import ClientGone, DeadlineExceeded, ServerBusy
from serving.api.served_model import ServedModel
from serving.config import Settings
from serving.log import LOG
from serving.model.decoder import Pixels
from serving.model.predictor import Prediction
from serving.server.client_address import client_from_address
from serving.server.thread_pool import run_after_response
from serving.trial.comparison import is_distribution
from serving.updates.shadow import ShadowRunner
from serving.updates.trial import Sample, Trial

# Clients are divided into so many parts.
PARTS = 10_000


class CandidateFailed(Exception):
    """The candidate gave no probabilities."""


class TrialRequests:
    """Answers requests of models that have a candidate on trial."""

    def __init__(self, settings: Settings, classifier: Classifier) -> None:
        self._settings, self._classifier = settings, classifier
        self._shadow = ShadowRunner(lambda: classifier.admission.is_idle)

    def predict(
        self, trial: Trial, active: ServedModel, request: Request, images: Sequence[bytes] | Pixels
    ) -> tuple[ServedModel, list[Prediction]]:
        """The predictions, and the version that has made them.

        Some clients get those of the candidate. If it fails, the active version answers.
        """
        samples: list[Sample] = []
        model = trial.candidate if self._is_canary(trial, request, images) else active
        try:
            share = 1.0 if model is not active else self._settings.shadow
            predictions = self._classify(model, request, images, samples, share)
            if model is not active:
                _check(model, predictions)
        except (ServerBusy, ClientGone):
            raise
        except DeadlineExceeded:
            if model is not active:
                trial.fail(images[0])
            raise
        except Exception as error:
            if model is active:
                raise
            samples.clear()
            g.context.images.clear()
            # Raises if it is the image that is at fault.
            model, predictions = active, self._classify(active, request, images, samples, 0.0)
            trial.fail(images[0])
            LOG.warning("the candidate failed, and the active version has answered", exc_info=error)
        run_after_response(partial(self._submit, trial, samples))
        return model, predictions

    def _classify(
        self,
        model: ServedModel,
        request: Request,
        images: Sequence[bytes] | Pixels,
        samples: list[Sample],
        share: float,
    ) -> list[Prediction]:
        """Classifies, and keeps a share of the images for the trial."""

        def keep(sample: Sample) -> None:
            if random.random() < share:  # noqa: S311  (no secret)
                samples.append(sample)

        disconnected = partial(client_disconnected, request.environ)
        return self._classifier.classify(model, images, g.context, disconnected, keep)

    def _submit(self, trial: Trial, samples: list[Sample]) -> None:
        for sample in samples:
            self._shadow.submit(trial, sample)

    def _is_canary(self, trial: Trial, request: Request, images: Sequence[bytes] | Pixels) -> bool:
        """Is the client one of those that the candidate answers? It is for all of the trial."""
        if not self._settings.canary:
            return False
        shape = trial.candidate.predictor.preprocessing.shape
        if not isinstance(images, list | tuple) and getattr(images, "shape", ())[1:] != shape:
            return False
        key = f"{_client_of(request)} {trial.candidate.pin.digest}"
        number = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest())
        return number % PARTS < self._settings.canary * PARTS


def _client_of(request: Request) -> str:
    """The API key, or the network of the address: a /24, or a /64 of IPv6."""
    if key := request.environ.get(KEY_NAME):
        return f"key {key}"
    client = client_from_address(request.remote_addr)
    return client if "/" in client else next(networks_of(client), client)


def _check(model: ServedModel, predictions: Sequence[Prediction]) -> None:
    """Raises `CandidateFailed` unless each prediction is a probability distribution."""
    if not all(is_distribution(each.probabilities, len(model.labels)) for each in predictions):
        raise CandidateFailed
