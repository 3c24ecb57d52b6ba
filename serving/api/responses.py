"""Response bodies: JSON documents, and errors as RFC 9457 problem details."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import MappingProxyType

import msgspec
from flask import Response

NO_HEADERS: Mapping[str, str] = MappingProxyType({})
# Paths of this server within a sentence.
PATHS = re.compile(r"(?<![\w/.])/(?=(?:docs|predict)\b)")


def json_response(document: object, status: int = 200, headers: Mapping[str, str] = NO_HEADERS) -> Response:
    """A JSON response. Its Content-Type has no charset: some clients compare the whole header."""
    return Response(msgspec.json.encode(document), status, headers, mimetype="application/json")


@dataclass(frozen=True)
class Problem:
    """An error as RFC 9457 problem details with a stable `code`.

    `detail` states what was wrong, what is allowed and what to do; `extra` are further members. `prefix` is
    the path prefix of the server.
    """

    status: int
    code: str
    detail: str
    extra: Mapping[str, object] = field(default_factory=dict)
    prefix: str = ""

    media_type = "application/problem+json"

    @classmethod
    def with_prefix(
        cls, prefix: str, status: int, code: str, detail: str, extra: Mapping[str, object]
    ) -> "Problem":
        """The error on a server with a path prefix, which is added to the paths in its sentence too."""
        return cls(status, code, PATHS.sub(f"{prefix}/", detail) if prefix else detail, extra, prefix)

    @property
    def title(self) -> str:
        """The reason phrase of the status."""
        return HTTPStatus(self.status).phrase

    def to_bytes(self) -> bytes:
        """The JSON document. `type` links to the code's line in the server's own documentation."""
        document = {
            "type": f"{self.prefix}/docs#{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            **self.extra,
        }
        return msgspec.json.encode(document)


def problem_response(error: Problem, headers: dict[str, str]) -> Response:
    """The error as problem details."""
    return Response(error.to_bytes(), error.status, headers, content_type=error.media_type)
