"""From documents to responses."""

import msgspec
from flask import Response

from serving.problem import Problem


def json(document: object) -> Response:
    """200, with a document that `serving/api/answers.py` describes."""
    return Response(msgspec.json.encode(document), mimetype="application/json")


def problem(error: Problem, headers: dict[str, str]) -> Response:
    """An error, with its status."""
    return Response(error.to_bytes(), error.status, headers, content_type=error.media_type)
