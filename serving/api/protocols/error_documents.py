"""Errors as most protocols have them: `{"error": "<sentence>"}`, and beside it what this server adds."""

from collections.abc import Mapping
from functools import partial

from flask import Response

from serving.api.problem import Problem
from serving.api.responses import json
from serving.errors import ImageError

# Protocols that are older than HTTP's finer numbers call whatever is wrong with an input a wrong request.
INVALID = {kind.code: 400 for kind in ImageError.__subclasses__()}
# gRPC, from which some protocols have their numbers, tells a lack of time from a lack of places.
LATE = INVALID | {"deadline_exceeded": 504}


def plain(problem: Problem, headers: dict[str, str], statuses: Mapping[str, int] | None = None) -> Response:
    """An error; `statuses`: by code, where they are others than elsewhere."""
    status = (statuses or {}).get(problem.code, problem.status)
    return json({"error": problem.detail, "code": problem.code, **problem.extra}, status, headers)


invalid = partial(plain, statuses=INVALID)
late = partial(plain, statuses=LATE)
