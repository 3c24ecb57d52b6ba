"""The WSGI application: registers the routes, and adds headers, metrics and a log line to every response."""

import re
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from flask import Flask, Response, g, request
from gunicorn.http.wsgi import Response as GunicornResponse
from werkzeug.http import http_date
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.routing import BaseConverter

from serving.api import errors, explanation_routes, page_routes, prediction_routes, status_routes
from serving.api.access_control import KEY_NAME
from serving.api.client_connection import Environ
from serving.api.cors import CorsRequest
from serving.api.direct_predictions import FAILURE, DirectPredictions
from serving.api.error_handlers import ErrorFormat, ErrorFormats, register_error_handlers
from serving.api.middleware import HEALTH_PATHS, METRICS, ForwardedSchemeFilter, is_on_its_port, strip_prefix
from serving.api.protocols import (
    error_formats,
    hugging_face,
    mlflow_scoring,
    open_inference,
    tensorflow_serving,
    vertex_ai,
)
from serving.api.request_context import RequestContext
from serving.api.request_log import log_and_count
from serving.api.response_headers import add_response_headers
from serving.api.responses import Problem, problem_response
from serving.api.service import Service
from serving.artifact.pin import Pin
from serving.artifact.release import Release
from serving.config import Settings, SettingsInvalid, variable
from serving.log import LOG, standard_output
from serving.server.client_socket import QueueTiming
from serving.server.drain import Drain
from serving.server.memory import MemoryLimit
from serving.server.restart_counter import RestartCounter
from serving.updates.update_thread import UpdateThread
from serving.workers.worker_table import WorkerLoad
from serving.workers.workers import Workers

StartResponse = Callable[..., Any]
WSGI = Callable[[Environ, StartResponse], Iterable[bytes]]

# Entry of the WSGI environment: the connection is closed after this response.
CLOSE = "goldfish.close"
# The part of a route that names the model's version: left out of metrics and log, which have the digest.
VERSION_IN_ROUTE = re.compile("/(?:versions|labels)/<segment:[a-z]+>")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

PROTOCOLS = (open_inference, tensorflow_serving, mlflow_scoring, hugging_face)


class PathSegment(BaseConverter):
    """A part of a path between two slashes, up to the colon before a verb (`/v1/models/<name>:predict`)."""

    regex = "[^/:]+"


class Application:
    """What Gunicorn calls for each request. Its worker also gets error responses and state from it."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.admission = service.classifier.admission
        self.watchdog, self.restarts = service.watchdog, service.restarts
        self._threads: list[UpdateThread] = []
        # Set by the worker, for which responses close their connections: it stops, or it has many more
        # connections than another worker.
        self.closing = self.crowded = False
        self._wsgi: WSGI = create_app(service).wsgi_app

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Handles a request. Has Gunicorn send `Connection: close` if the connection will be closed.

        WSGI forbids applications to set that header, so it is set on Gunicorn's response object.
        """

        def start(*arguments: Any) -> Any:  # noqa: ANN401  (WSGI's own)
            response = getattr(start_response, "__self__", None)
            close = environ.get(CLOSE) or self.closing or self.crowded or self._service.drain.begun
            if close and isinstance(response, GunicornResponse):
                response.force_close()
            return start_response(*arguments)

        strip_prefix(environ, self._service.settings.prefix)
        tensorflow_serving.normalise_case(environ)
        return self._wsgi(environ, start)

    @property
    def image_seconds(self) -> float:
        """Seconds that decoding and classifying a golden image of the default model takes."""
        return self._service.models.default.golden.seconds

    @property
    def body_budget_bytes(self) -> int:
        """Bytes of request bodies that this worker may hold."""
        return self._service.body_reader.budget_bytes

    @property
    def cache_bytes(self) -> int:
        """Bytes that its result cache may take."""
        return self._service.cached_requests.cache.limit

    def load(self) -> WorkerLoad:
        """What this worker is doing."""
        admission, held = self.admission, self.watchdog.longest_held
        return WorkerLoad(
            admission.busy,
            admission.queue_length,
            self._service.body_reader.held_bytes,
            held_ms=round(1000 * held),
            lines_dropped=standard_output().dropped,
        )

    def take_share(self, slots: int, workers: int) -> None:
        """Limits this worker to its share of the server's capacity."""
        self.admission.slots = slots
        self._service.body_reader.take_share(workers)
        self._service.cached_requests.cache.limit //= workers

    def start_updates(self, limit: MemoryLimit) -> None:
        """Limits the memory of the process, and begins to follow the pins."""
        shared = self._service.shared
        shared.memory.set_limit(limit)
        self._threads = [UpdateThread(each) for each in self._service.updates]
        for thread in self._threads:
            thread.start()

    def stop_updates(self) -> None:
        """Begins no further change of a version."""
        for thread in self._threads:
            thread.stop()

    def stop_spans(self, seconds: float) -> None:
        """Sends the last spans, within these seconds."""
        if self._service.spans:
            self._service.spans.stop(seconds)

    def error_response(self, error: errors.RequestError) -> bytes:
        """The complete response to input that is no valid request: counted, logged and with all headers."""
        context = RequestContext.begin(QueueTiming(time.monotonic()))
        context.code = error.code
        members, prefix = {"request_id": context.request_id}, self._service.settings.prefix
        problem = Problem.with_prefix(prefix, error.status, error.code, str(error), members)
        response = problem_response(problem, error.headers)
        pin = self._service.models.default.pin
        cors_request = CorsRequest(self._service.cors.single_origin)
        add_response_headers(response, self._service, pin, context, cors_request)
        response.headers["Connection"] = "close"
        response.headers["Date"] = http_date()
        log_and_count(self._service.metrics, pin, context, "none", "none", error.status)
        return f"HTTP/1.1 {response.status}\r\n{response.headers}".encode("latin-1") + response.get_data()


def load_application(
    settings: Settings,
    releases: Sequence[Release],
    slots: int,
    drain: Drain,
    restarts: RestartCounter,
    workers: Workers,
) -> Application:
    """Loads the models, checks them on their golden images and creates the application.

    Raises a `ServingError`.
    """
    began = time.perf_counter()
    app = Application(Service.start(settings, releases, slots, drain, restarts, workers))
    seconds, number = time.perf_counter() - began, workers.folder.worker
    shared = {"worker": number, "slots": slots, "url": f"http://{settings.address}", "seconds": seconds}
    for release in releases:
        pin = release.pin
        fields = {"model": pin.name, "version": pin.version, "digest": pin.digest, **shared}
        LOG.info("ready", extra={"fields": fields})
    return app


def create_app(service: Service) -> Flask:
    """The Flask application with all routes."""
    app = Flask(__name__)
    # Set before the routes, which copy these settings. A redirect would return a page and lose the body.
    app.url_map.strict_slashes = app.url_map.merge_slashes = False
    app.url_map.converters["segment"] = PathSegment
    for module in (page_routes, prediction_routes, explanation_routes, status_routes, *PROTOCOLS):
        app.register_blueprint(module.routes(service))
    app.register_blueprint(vertex_ai.routes(service, app.url_map))
    _check_prefix(app, service.settings.prefix)
    app.wsgi_app = DirectPredictions(service, app.wsgi_app)  # type: ignore[method-assign]
    if hops := service.settings.proxy_hops:
        # Address and scheme only: a proxy that does not set the other headers would pass on the client's.
        proxied = ProxyFix(ForwardedSchemeFilter(app.wsgi_app), hops, hops, 0, 0, 0)
        app.wsgi_app = proxied  # type: ignore[method-assign]
    register_error_handlers(app, _error_formats(app))
    _add_request_hooks(app, service)
    return app


def _check_prefix(app: Flask, prefix: str) -> None:
    """Raises `SettingsInvalid` if a path could be read both with and without the prefix."""
    if prefix and prefix.split("/")[1] in {rule.rule.split("/")[1] for rule in app.url_map.iter_rules()}:
        name = variable("prefix")
        raise SettingsInvalid([f"{name} is {prefix!r}, and paths of this server's own begin so"])


def _error_formats(app: Flask) -> ErrorFormats:
    """The error format of each protocol, by the prefix of its paths."""
    by_prefix: list[tuple[str, ErrorFormat]] = [
        *((path, mlflow_scoring.mlflow_error) for path in mlflow_scoring.PATHS),
        (open_inference.PREFIX, error_formats.error_document_400),
        (tensorflow_serving.PREFIX, error_formats.error_document_504),
        (hugging_face.PREFIX, error_formats.error_document),
        *((path, error_formats.error_document) for path in vertex_ai.added_paths(app)),
    ]
    return ErrorFormats(by_prefix)


def _add_request_hooks(app: Flask, service: Service) -> None:
    """Creates each request's context; adds headers, metrics and a log line to each response."""

    @app.before_request
    def begin_request() -> None:
        if failure := request.environ.pop(FAILURE, None):
            g.context, g.span, g.model = failure.context, None, failure.model
            try:
                raise failure.error
            finally:
                # The error's traceback holds this frame: a reference cycle, which would hold the body too.
                del failure
        g.context = RequestContext.of_request(request.environ)
        g.span = _begin_span(service, g.context) if service.spans else None
        # One model answers the whole request: the default one, that of the query, or that of the path.
        service.use_default()
        rule = request.url_rule
        # A path with a model, or a static file, is no matter of the query.
        if request.query_string and rule and "<" not in rule.rule:
            service.find_queried_model(request.args)
        if not is_on_its_port(request.environ, service.settings.metrics_port):
            raise errors.RouteUnknown

    @app.after_request
    def finish_request(response: Response) -> Response:
        context: RequestContext = g.context
        pin: Pin = g.model.pin
        if not service.body_reader.discard_rest(request.environ):
            request.environ[CLOSE] = True
        add_response_headers(response, service, pin, context, _cors_request())
        key = request.environ.get(KEY_NAME)
        status = response.status_code
        log_and_count(service.metrics, pin, context, _method(), _route() or "none", status, key)
        if service.spans and g.span:
            service.spans.end(g.span, context, pin, response.status_code)
        return response


def _method() -> str:
    return request.method if request.method in METHODS else "other"


def _route() -> str | None:
    """The route, not the path, which is text of the client's choice."""
    rule = request.url_rule
    return VERSION_IN_ROUTE.sub("", rule.rule).replace("<segment:", "<") if rule else None


def _begin_span(service: Service, context: RequestContext) -> Any:  # noqa: ANN401  (a span of the library)
    """The span of a request. Health checks and metrics, which come all the time, begin no trace."""
    route = _route()
    probes = (*HEALTH_PATHS, METRICS, service.settings.aip_health_route)
    if service.spans is None or (route in probes and not context.parent):
        return None
    path = request.path if route else None
    return service.spans.begin(context, _method(), request.scheme, route, path)


def _cors_request() -> CorsRequest:
    preflight = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
    return CorsRequest(request.headers.get("Origin"), preflight)
