"""Answers `POST /predict` and `POST /inference` without a query before Flask sees them.

Nearly all requests are of this kind. Flask takes 5 % of the processor time of one with a photo, and 20 % of
one with a digit (docs/performance.md). All other requests are passed on to Flask. So are errors: an exception
that is raised here is raised again in Flask, whose handlers respond to it.

What a hook in `app.py` does for every response must be done here too, or `_is_plain` must exclude it.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import msgspec
from flask import Request

from serving.api.access_control import KEY_NAME
from serving.api.client_connection import Environ
from serving.api.middleware import is_on_its_port
from serving.api.prediction_routes import default_level, predictions_document, scores_by_label
from serving.api.request_context import RequestContext
from serving.api.request_log import log_and_count
from serving.api.response_headers import HEADERS, headers_of_request
from serving.api.served_model import ServedModel
from serving.api.service import Service

INFERENCE, PREDICT = "/inference", "/predict"
# Entry of the WSGI environment with a `Failure`.
FAILURE = "goldfish.failure"


class Failure(NamedTuple):
    """An error for Flask to respond to."""

    context: RequestContext
    model: ServedModel
    error: Exception


class DirectPredictions:
    """WSGI middleware around Flask's application."""

    def __init__(self, service: Service, flask: Callable[..., Iterable[bytes]]) -> None:
        self._service, self._flask = service, flask
        settings = service.settings
        # Requests of other servers need what only Flask's hooks and routes do.
        self._is_plain_server = not (service.spans or settings.cors_origins or settings.cache_bytes)

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answers a request."""
        loaded = self._service.models.models[0].loaded
        if not self._is_plain(environ) or loaded.trial:
            return self._flask(environ, start_response)
        context, model = RequestContext.of_request(environ), loaded.active
        try:
            data = msgspec.json.encode(self._predict(environ, model, context))
        # Of any kind: Flask has a handler for each.
        except Exception as error:  # noqa: BLE001
            environ[FAILURE] = Failure(context, model, error)
            return self._flask(environ, start_response)
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(data)))]
        headers += [*HEADERS.items(), *headers_of_request(model.pin, context)]
        metrics, key = self._service.metrics, environ.get(KEY_NAME)
        log_and_count(metrics, model.pin, context, "POST", environ["PATH_INFO"], 200, key)
        start_response("200 OK", headers)
        return [data]

    def _is_plain(self, environ: Environ) -> bool:
        return (
            self._is_plain_server
            and environ["PATH_INFO"] in (PREDICT, INFERENCE)
            and environ["REQUEST_METHOD"] == "POST"
            and not environ["QUERY_STRING"]
            and is_on_its_port(environ, self._service.settings.metrics_port)
        )

    def _predict(self, environ: Environ, model: ServedModel, context: RequestContext) -> object:
        """The document of the response."""
        # With `populate_request` the environment would hold the request, and the request the environment: a
        # reference cycle, which only the garbage collector frees.
        service, request = self._service, Request(environ, populate_request=False)
        is_inference = environ["PATH_INFO"] == INFERENCE
        with service.read_images(request, 1 if is_inference else service.settings.max_images) as images:
            predictions = service.predict_with(model, request, images, context)
        if is_inference:
            return scores_by_label(model, predictions[0])
        level = default_level(model.reliability.levels)
        return predictions_document(model, predictions, context, level=level)
