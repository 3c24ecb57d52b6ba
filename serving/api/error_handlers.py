"""Turns exceptions into error responses, in the format of the protocol to which the path belongs.

The status is an attribute of the error's class (errors.py, serving/errors.py); a protocol may replace it
(protocols/error_formats.py).
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException, NotFound, RequestedRangeNotSatisfiable
from werkzeug.exceptions import MethodNotAllowed as WerkzeugMethodNotAllowed

from serving.api import errors
from serving.api.classifier import ImageRefused
from serving.api.request_context import RequestContext
from serving.api.responses import Problem, problem_response
from serving.errors import ImageError
from serving.log import LOG

# From an error and its headers to a response that clients of the protocol understand.
ErrorFormat = Callable[[Problem, dict[str, str]], Response]
NO_MEMBERS: Mapping[str, object] = MappingProxyType({})


class ErrorFormats:
    """Error formats by path prefix. Chosen by path, because errors also occur where no route matches."""

    def __init__(self, by_prefix: Sequence[tuple[str, ErrorFormat]]) -> None:
        self._by_prefix = by_prefix

    def find(self, path: str) -> ErrorFormat:
        """The format of the longest prefix that matches; problem details if none does."""
        path = path.rstrip("/") + "/"
        matches = [(len(prefix), form) for prefix, form in self._by_prefix if path.startswith(prefix + "/")]
        return max(matches, key=lambda match: match[0])[1] if matches else problem_response


def register_error_handlers(app: Flask, formats: ErrorFormats) -> None:
    """Registers a handler for every exception that a route can raise."""

    def respond(
        error: errors.RequestError | ImageError, extra: Mapping[str, object] = NO_MEMBERS
    ) -> Response:
        context: RequestContext = g.context
        context.code = error.code
        members = {**extra, "request_id": context.request_id}
        if context.span:
            members["trace_id"] = context.span.trace_id
        headers = error.headers if isinstance(error, errors.RequestError) else {}
        problem = Problem.with_prefix(request.script_root, error.status, error.code, str(error), members)
        return formats.find(request.path)(problem, headers)

    def identifiers() -> dict[str, str]:
        context: RequestContext = g.context
        return {"request_id": context.request_id, **context.trace_fields}

    @app.errorhandler(errors.RequestError)
    def request_error(error: errors.RequestError) -> Response:
        return respond(error)

    @app.errorhandler(ImageRefused)
    def image_refused(refused: ImageRefused) -> Response:
        return respond(refused.error, {} if refused.index is None else {"index": refused.index})

    @app.errorhandler(HTTPException)
    def werkzeug_error(error: HTTPException) -> Response:
        if isinstance(error, NotFound):
            return respond(errors.RouteUnknown())
        if isinstance(error, WerkzeugMethodNotAllowed):
            return respond(errors.MethodNotAllowed(request.method, error.valid_methods or ()))
        if isinstance(error, RequestedRangeNotSatisfiable):
            return respond(errors.RangeInvalid(error.length))
        return respond(errors.RequestInvalid())

    @app.errorhandler(MemoryError)
    def out_of_memory(_: MemoryError) -> Response:
        LOG.warning("out of memory", extra={"fields": identifiers()})
        return respond(errors.ServerBusy(1))

    @app.errorhandler(Exception)
    def unexpected_error(error: Exception) -> Response:
        LOG.error("failed", exc_info=error, extra={"fields": identifiers()})
        return respond(errors.Internal())
