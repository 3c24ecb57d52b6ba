"""The error format of most protocols: `{"error": "<sentence>"}`, with this server's own members beside it."""

from collections.abc import Mapping
from functools import partial

from flask import Response

from serving.api.responses import Problem, json_response
from serving.errors import ImageError

# Statuses by error code, where a protocol's differ from those of the error classes.
# Protocols that know fewer statuses report every invalid image with 400.
IMAGE_STATUSES = {kind.code: 400 for kind in ImageError.__subclasses__()}
# Protocols whose statuses are derived from gRPC's distinguish a passed deadline from a full server.
DEADLINE_STATUSES = IMAGE_STATUSES | {"deadline_exceeded": 504}


def error_document(
    problem: Problem, headers: dict[str, str], statuses: Mapping[str, int] | None = None
) -> Response:
    """The error as such a document; `statuses` replaces some of the statuses."""
    status = (statuses or {}).get(problem.code, problem.status)
    return json_response({"error": problem.detail, "code": problem.code, **problem.extra}, status, headers)


error_document_400 = partial(error_document, statuses=IMAGE_STATUSES)
error_document_504 = partial(error_document, statuses=DEADLINE_STATUSES)
