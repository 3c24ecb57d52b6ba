"""How every error leaves the server: RFC 9457 problem details, with a stable `code`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

import msgspec

# Paths of this server in a sentence.
PATHS = re.compile(r"(?<![\w/.])/(?=(?:docs|predict)\b)")


@dataclass(frozen=True)
class Problem:
    """One error. `detail` says what came, what is allowed and what to do; `extra` are further members.

    `prefix` is what stands before all paths of the server.
    """

    status: int
    code: str
    detail: str
    extra: Mapping[str, object] = field(default_factory=dict)
    prefix: str = ""

    media_type = "application/problem+json"

    @classmethod
    def below(
        cls, prefix: str, status: int, code: str, detail: str, extra: Mapping[str, object]
    ) -> "Problem":
        """One error of a server whose paths all begin with a prefix, also where the sentence names one."""
        return cls(status, code, PATHS.sub(f"{prefix}/", detail) if prefix else detail, extra, prefix)

    @property
    def title(self) -> str:
        """What HTTP calls the status."""
        return HTTPStatus(self.status).phrase

    def to_bytes(self) -> bytes:
        """The JSON document. `type` leads to the code's line in the documentation that the server has."""
        document = {
            "type": f"{self.prefix}/docs#{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            **self.extra,
        }
        return msgspec.json.encode(document)
