"""The WSGI application: routes, and what holds for every request and every answer."""

import re
import time
from collections.abc import Callable, Iterable
from typing import Any

from flask import Flask, Response, g, request
from gunicorn.http.wsgi import Response as GunicornResponse
from werkzeug.http import http_date
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.routing import BaseConverter

from serving.api import errors, page_routes, prediction_routes, status_routes
from serving.api.access_control import KEY
from serving.api.body_reader import Environ, turn
from serving.api.cors import Question
from serving.api.error_formats import Shape, Shapes, answer_errors
from serving.api.middleware import KnownSchemes, at_its_port, take_off
from serving.api.problem import Problem
from serving.api.protocols import (
    error_documents,
    hugging_face,
    mlflow_scoring,
    open_inference,
    tensorflow_serving,
    vertex_ai,
)
from serving.api.request_context import Trace
from serving.api.responses import problem
from serving.api.service import Service
from serving.artifact.release import Release
from serving.config import Settings, SettingsInvalid, variable
from serving.log import LOG
from serving.server.client_socket import QueueTiming
from serving.server.drain import Drain
from serving.server.restart_counter import RestartCounter

StartResponse = Callable[..., Any]
WSGI = Callable[[Environ, StartResponse], Iterable[bytes]]

# Nothing from elsewhere runs, loads or frames a page; pictures are previewed from the browser's own memory.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(self), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
    # What a browser gets at a path is not what a program gets.
    "Vary": "Accept",
}
# Where a request notes that its connection will not be kept.
CLOSE = "goldfish.close"
# However a path names the version of the model: it is one, and one series in Prometheus.
WHICH = re.compile("/(?:versions|labels)/<word:[a-z]+>")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


PROTOCOLS = (open_inference, tensorflow_serving, mlflow_scoring, hugging_face)


class Word(BaseConverter):
    """What stands between two slashes, up to the colon before a verb."""

    regex = "[^/:]+"


class Application:
    """What Gunicorn calls for each request, and what its worker asks for when something is no request."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.admission = service.classifier.admission
        self.watchdog, self.restarts = service.watchdog, service.restarts
        # Set by the worker: no connection is kept any more.
        self.closing = False
        self._wsgi: WSGI = create_app(service).wsgi_app

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answers, and lets Gunicorn say `Connection: close` where the connection will not be kept.

        An application cannot send that header itself, so the response that Gunicorn is about to write is
        told.
        """

        def start(*arguments: Any) -> Any:  # noqa: ANN401  (WSGI's own)
            response = getattr(start_response, "__self__", None)
            close = environ.get(CLOSE) or self.closing or self._service.drain.begun
            if close and isinstance(response, GunicornResponse):
                response.force_close()
            return start_response(*arguments)

        take_off(environ, self._service.settings.prefix)
        tensorflow_serving.any_case(environ)
        return self._wsgi(environ, start)

    def refuse(self, error: errors.RequestError) -> bytes:
        """A whole answer to what never became a request: counted, logged and signed like all others."""
        trace = Trace.begin(QueueTiming(time.monotonic()))
        trace.code = error.code
        details, prefix = {"request_id": trace.request_id}, self._service.settings.prefix
        found = Problem.below(prefix, error.status, error.code, str(error), details)
        response = problem(found, error.headers)
        _sign(response, self._service, trace, Question(self._service.cors.only))
        response.headers["Connection"] = "close"
        response.headers["Date"] = http_date()
        _note(self._service, trace, "none", "none", error.status)
        return f"HTTP/1.1 {response.status}\r\n{response.headers}".encode("latin-1") + response.get_data()


def application(
    settings: Settings, release: Release, slots: int, drain: Drain, restarts: RestartCounter
) -> Application:
    """Loads the model and has it prove itself. Raises a `ServingError`."""
    began = time.perf_counter()
    app = Application(Service.start(settings, release, slots, drain, restarts))
    pin = release.pin
    fields = {"model": pin.name, "version": pin.version, "digest": pin.digest, "slots": slots}
    fields |= {"url": f"http://{settings.address}", "seconds": time.perf_counter() - began}
    LOG.info("ready", extra={"fields": fields})
    return app


def create_app(service: Service) -> Flask:
    """The routes over one service."""
    app = Flask(__name__)
    # Before there are routes, which take it from here. A redirect would be a page, and lose a body.
    app.url_map.strict_slashes = app.url_map.merge_slashes = False
    app.url_map.converters["word"] = Word
    for module in (page_routes, prediction_routes, status_routes, *PROTOCOLS):
        app.register_blueprint(module.routes(service))
    app.register_blueprint(vertex_ai.routes(service, app.url_map))
    _check_prefix(app, service.settings.prefix)
    if hops := service.settings.proxy_hops:
        # Address and scheme; a proxy that does not set the other headers would pass a client's own ones on.
        app.wsgi_app = ProxyFix(KnownSchemes(app.wsgi_app), hops, hops, 0, 0, 0)  # type: ignore[method-assign]
    answer_errors(app, _shapes(app))
    _follow(app, service)
    return app


def _check_prefix(app: Flask, prefix: str) -> None:
    """Raises `SettingsInvalid` if a path could be one with the prefix, and another one without."""
    if prefix and prefix.split("/")[1] in {rule.rule.split("/")[1] for rule in app.url_map.iter_rules()}:
        name = variable("prefix")
        raise SettingsInvalid([f"{name} is {prefix!r}, and paths of this server's own begin so"])


def _shapes(app: Flask) -> Shapes:
    """Which errors look how: those of a protocol as its clients read them."""
    known: list[tuple[str, Shape]] = [
        *((path, mlflow_scoring.refuse) for path in mlflow_scoring.PATHS),
        (open_inference.PREFIX, error_documents.invalid),
        (tensorflow_serving.PREFIX, error_documents.late),
        (hugging_face.PREFIX, error_documents.plain),
        *((path, error_documents.plain) for path in vertex_ai.paths(app)),
    ]
    return Shapes(known)


def _follow(app: Flask, service: Service) -> None:
    """Gives each request its trace, and each answer the headers, the metrics and the log line."""

    @app.before_request
    def begin() -> None:
        given_id, parent = request.headers.get("X-Request-Id"), request.headers.get("traceparent")
        g.trace = Trace.begin(turn(request.environ), given_id, parent)
        if not at_its_port(request.environ, service.settings.metrics_port):
            raise errors.RouteUnknown

    @app.after_request
    def finish(response: Response) -> Response:
        trace: Trace = g.trace
        if not service.bodies.drain(request.environ):
            request.environ[CLOSE] = True
        _sign(response, service, trace, _question())
        route = WHICH.sub("", request.url_rule.rule).replace("<word:", "<") if request.url_rule else "none"
        method = request.method if request.method in METHODS else "other"
        _note(service, trace, method, route, response.status_code, request.environ.get(KEY))
        return response


def _question() -> Question:
    asked = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
    return Question(request.headers.get("Origin"), asked)


def _sign(response: Response, service: Service, trace: Trace, question: Question) -> None:
    """Says who answered, and what a browser may do with it."""
    pin, headers = service.release.pin, response.headers
    # What a route has said of itself stays. Each look into the headers goes through all of them.
    said = {name.lower() for name in headers.keys()}  # noqa: SIM118  (they are no dictionary)
    headers.extend(item for item in HEADERS.items() if item[0].lower() not in said)
    headers.add("X-Model-Name", pin.name)
    headers.add("X-Model-Version", str(pin.version))
    headers.add("X-Model-Digest", pin.digest)
    headers.add("X-Request-Id", trace.request_id)
    service.cors.answer(headers, question)
    if trace.images:
        timing = (f"{name};dur={value}" for name, value in trace.milliseconds().items())
        headers.add("Server-Timing", ", ".join(timing))


def _note(
    service: Service, trace: Trace, method: str, route: str, status: int, key: str | None = None
) -> None:
    """Counts and logs: the route, not the path, which a client can fill with anything."""
    service.metrics.request(route, status, trace.seconds, trace.code)
    fields = {
        "request_id": trace.request_id,
        "method": method,
        "route": route,
        "status": status,
        "code": trace.code,
        "ms": {"total": round(1000 * trace.seconds, 3), **trace.milliseconds()},
        "images": [vars(facts) for facts in trace.images],
        "digest": service.release.pin.digest,
    }
    if trace.trace_id:
        fields["trace_id"] = trace.trace_id
    if key:
        fields["key"] = key
        service.metrics.key(key, status)
    LOG.info("request", extra={"fields": fields})
