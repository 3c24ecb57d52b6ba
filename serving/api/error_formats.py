"""How an error looks at a path: every protocol has a form of its own, and what lies outside has another."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException, NotFound, RequestedRangeNotSatisfiable
from werkzeug.exceptions import MethodNotAllowed as WrongMethod

from serving.api import errors
from serving.api.classifier import ImageRefused
from serving.api.problem import Problem
from serving.api.request_context import Trace
from serving.api.responses import problem
from serving.errors import ImageError
from serving.log import LOG

# From an error and its headers to what a client of the protocol understands.
Shape = Callable[[Problem, dict[str, str]], Response]
NOTHING: Mapping[str, object] = MappingProxyType({})


class Shapes:
    """Forms by the beginning of the path, for errors that are raised where no view is reached, too."""

    def __init__(self, known: Sequence[tuple[str, Shape]]) -> None:
        self._known = known

    def find(self, path: str) -> Shape:
        """The form of the longest beginning that fits; elsewhere problem details."""
        below = path.rstrip("/") + "/"
        fitting = [(len(prefix), shape) for prefix, shape in self._known if below.startswith(prefix + "/")]
        return max(fitting, key=lambda found: found[0])[1] if fitting else problem


def answer_errors(app: Flask, shapes: Shapes) -> None:
    """Turns all that can be raised into what the path's protocol calls an error."""

    def answer(error: errors.RequestError | ImageError, extra: Mapping[str, object] = NOTHING) -> Response:
        trace: Trace = g.trace
        trace.code = error.code
        details = {**extra, "request_id": trace.request_id}
        headers = error.headers if isinstance(error, errors.RequestError) else {}
        found = Problem.below(request.script_root, error.status, error.code, str(error), details)
        return shapes.find(request.path)(found, headers)

    @app.errorhandler(errors.RequestError)
    def wrong_request(error: errors.RequestError) -> Response:
        return answer(error)

    @app.errorhandler(ImageRefused)
    def wrong_image(refused: ImageRefused) -> Response:
        return answer(refused.error, {} if refused.index is None else {"index": refused.index})

    @app.errorhandler(HTTPException)
    def werkzeugs(error: HTTPException) -> Response:
        if isinstance(error, NotFound):
            return answer(errors.RouteUnknown())
        if isinstance(error, WrongMethod):
            return answer(errors.MethodNotAllowed(request.method, error.valid_methods or ()))
        if isinstance(error, RequestedRangeNotSatisfiable):
            return answer(errors.RangeInvalid(error.length))
        return answer(errors.RequestInvalid())

    @app.errorhandler(MemoryError)
    def out_of_memory(_: MemoryError) -> Response:
        LOG.warning("out of memory", extra={"fields": {"request_id": g.trace.request_id}})
        return answer(errors.ServerBusy(1))

    @app.errorhandler(Exception)
    def unexpected(error: Exception) -> Response:
        LOG.error("failed", exc_info=error, extra={"fields": {"request_id": g.trace.request_id}})
        return answer(errors.Internal())
