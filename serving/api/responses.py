"""From documents to responses."""

from collections.abc import Mapping
from types import MappingProxyType

import msgspec
from flask import Response

from serving.api.problem import Problem

NO_HEADERS: Mapping[str, str] = MappingProxyType({})


def json(document: object, status: int = 200, headers: Mapping[str, str] = NO_HEADERS) -> Response:
    """A document, of a type that names no charset: some clients compare all of it."""
    return Response(msgspec.json.encode(document), status, headers, mimetype="application/json")


def problem(error: Problem, headers: dict[str, str]) -> Response:
    """An error, with its status."""
    return Response(error.to_bytes(), error.status, headers, content_type=error.media_type)
