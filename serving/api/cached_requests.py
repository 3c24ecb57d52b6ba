"""Requests for images that may have been sent before: answered from the cache, or classified and kept."""

from collections.abc import Sequence
from functools import partial

from flask import Request, g

from serving.api.classifier import Classifier
from serving.api.client_connection import client_disconnected
from serving.api.request_context import RequestContext
from serving.api.result_cache import CachedAnswer, ResultCache
from serving.api.served_model import ServedModel
from serving.drift.brightness import brightness
from serving.model.decoder import Pixels
from serving.model.predictor import Prediction
from serving.updates.trial import Sample


class CachedRequests:
    """Answers requests by way of a cache."""

    def __init__(self, cache: ResultCache, classifier: Classifier) -> None:
        self.cache, self._classifier = cache, classifier

    def predict(
        self, model: ServedModel, request: Request, images: Sequence[bytes] | Pixels
    ) -> list[Prediction]:
        """The predictions of a model: from the cache if all of them are there."""
        context: RequestContext = g.context
        keys = self.cache.keys(model, images)
        found = self.cache.find(keys)
        context.cache_hit = found is not None
        self._classifier.metrics.count_cache(context.cache_hit)
        if found:
            return self._classifier.recall(model, found, context)
        unused = iter(keys)

        def keep(sample: Sample) -> None:
            facts, light = context.images[-1], brightness(sample.pixels)
            self.cache.add(next(unused), CachedAnswer(sample.prediction, facts, light, sample.size))

        disconnected = partial(client_disconnected, request.environ)
        return self._classifier.classify(model, images, context, disconnected, keep)
