"""The WSGI application: routes, and what holds for every request and every answer."""

import time
from collections.abc import Callable, Iterable
from typing import Any

from flask import Flask, Response, g, request
from gunicorn.http.wsgi import Response as GunicornResponse
from werkzeug.exceptions import HTTPException, NotFound
from werkzeug.exceptions import MethodNotAllowed as WrongMethod
from werkzeug.middleware.proxy_fix import ProxyFix

from serving.api import errors, native, operations, pages
from serving.api.body import Environ
from serving.api.classifier import ImageRefused
from serving.api.respond import problem
from serving.api.service import Service
from serving.api.trace import Trace
from serving.config import Settings
from serving.drain import Drain
from serving.log import LOG
from serving.problem import Problem
from serving.release import Release

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
_CLOSE = "goldfish.close"


def application(settings: Settings, release: Release, slots: int, drain: Drain) -> WSGI:
    """Loads the model, has it prove itself, and gives what Gunicorn calls. Raises a `ServingError`."""
    began = time.perf_counter()
    service = Service.start(settings, release, slots, drain)
    app: WSGI = _closing(create_app(service).wsgi_app, drain)
    pin = release.pin
    fields = {"model": pin.name, "version": pin.version, "digest": pin.digest, "slots": slots}
    fields |= {
        "url": f"http://{settings.address}",
        "ms": round(1000 * (time.perf_counter() - began)),
    }
    LOG.info("ready", extra={"fields": fields})
    return app


def create_app(service: Service) -> Flask:
    """The routes over one service."""
    app = Flask(__name__)
    # Before there are routes, which take it from here. A redirect would be a page, and lose a body.
    app.url_map.strict_slashes = app.url_map.merge_slashes = False
    for module in (pages, native, operations):
        app.register_blueprint(module.routes(service))
    if hops := service.settings.proxy_hops:
        # The address alone: a proxy that does not set the other headers would pass a client's own ones on.
        app.wsgi_app = ProxyFix(app.wsgi_app, hops, 0, 0, 0, 0)  # type: ignore[method-assign]
    _answer_errors(app)
    _follow(app, service)
    return app


def _follow(app: Flask, service: Service) -> None:
    """Gives each request its trace, and each answer the headers, the metrics and the log line."""
    pin = service.release.pin
    identity = {
        "X-Model-Name": pin.name,
        "X-Model-Version": str(pin.version),
        "X-Model-Digest": pin.digest,
    }

    @app.before_request
    def begin() -> None:
        g.trace = Trace.begin(request.headers.get("X-Request-Id"))

    @app.after_request
    def finish(response: Response) -> Response:
        trace: Trace = g.trace
        if not service.bodies.drain(request.environ):
            request.environ[_CLOSE] = True
        for name, value in (HEADERS | identity).items():
            response.headers.setdefault(name, value)
        response.headers["X-Request-Id"] = trace.request_id
        if trace.images:
            timing = (f"{name};dur={value}" for name, value in trace.milliseconds().items())
            response.headers["Server-Timing"] = ", ".join(timing)
        route = request.url_rule.rule if request.url_rule else "none"
        service.metrics.request(route, response.status_code, trace.seconds, trace.code)
        LOG.info("request", extra={"fields": _line(trace, route, response.status_code, pin.digest)})
        return response


def _line(trace: Trace, route: str, status: int, digest: str) -> dict[str, Any]:
    """What the log says of a request: the route, not the path, which a client can fill with anything."""
    return {
        "request_id": trace.request_id,
        "method": request.method if request.method in KNOWN_METHODS else "other",
        "route": route,
        "status": status,
        "code": trace.code,
        "ms": {"total": round(1000 * trace.seconds, 3), **trace.milliseconds()},
        "images": [vars(facts) for facts in trace.images],
        "digest": digest,
    }


KNOWN_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def _answer_errors(app: Flask) -> None:
    """Turns all that can be raised into problem details."""

    @app.errorhandler(errors.RequestError)
    def wrong_request(error: errors.RequestError) -> Response:
        return _problem(error.status, error.code, str(error), error.headers)

    @app.errorhandler(ImageRefused)
    def wrong_image(refused: ImageRefused) -> Response:
        error = refused.error
        which = {} if refused.index is None else {"index": refused.index}
        return _problem(error.status, error.code, str(error), {}, **which)

    @app.errorhandler(HTTPException)
    def werkzeugs(error: HTTPException) -> Response:
        if isinstance(error, NotFound):
            return wrong_request(errors.RouteUnknown())
        if isinstance(error, WrongMethod):
            return wrong_request(errors.MethodNotAllowed(request.method, error.valid_methods or ()))
        return wrong_request(errors.RequestInvalid())

    @app.errorhandler(MemoryError)
    def out_of_memory(_: MemoryError) -> Response:
        LOG.warning("out of memory", extra={"fields": {"request_id": g.trace.request_id}})
        return wrong_request(errors.ServerBusy(1))

    @app.errorhandler(Exception)
    def unexpected(error: Exception) -> Response:
        LOG.error("failed", exc_info=error, extra={"fields": {"request_id": g.trace.request_id}})
        return wrong_request(errors.Internal())


def _problem(status: int, code: str, detail: str, headers: dict[str, str], **extra: object) -> Response:
    g.trace.code = code
    extra["request_id"] = g.trace.request_id
    return problem(Problem(status, code, detail, extra), headers)


def _closing(app: WSGI, drain: Drain) -> WSGI:
    """Lets Gunicorn say `Connection: close` where the connection will not be kept.

    An application cannot send that header itself, so the response that Gunicorn is about to write is asked.
    """

    def front(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        def start(*arguments: Any) -> Any:  # noqa: ANN401  (WSGI's own)
            response = getattr(start_response, "__self__", None)
            if isinstance(response, GunicornResponse) and (environ.get(_CLOSE) or drain.begun):
                response.force_close()
            return start_response(*arguments)

        return app(environ, start)

    return front
