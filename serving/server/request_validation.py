"""Validates requests beyond Gunicorn's parser, as RFC 9112 and RFC 9110 require.

A proxy in front and this server must agree on where a request ends and which host it is for. If they read an
ambiguous message differently, one request becomes two (request smuggling). So nothing is repaired or guessed.
"""

import re
from typing import Any

from gunicorn.http.errors import (
    InvalidHeader,
    InvalidHTTPVersion,
    InvalidRequestLine,
    UnsupportedTransferCoding,
)

VERSIONS = ((1, 0), (1, 1))
# RFC 9112, 3.2.1 and 3.2.2: an absolute path, or a URL with one, without a fragment. RFC 3986 allows fewer
# characters; browsers and curl also send some punctuation and non-ASCII letters, which are harmless.
ORIGIN = re.compile(r"/[!\"$-~\x80-\xff]*")
ABSOLUTE = re.compile(r"https?://([^/?#]+)(?:[/?][!\"$-~\x80-\xff]*)?", re.IGNORECASE)
# RFC 9110, 7.2: a name, an IPv4 address or an IPv6 address in brackets, and a port. A name has no characters
# that would have to be escaped elsewhere.
HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~-]*)(?::[0-9]{0,5})?")
# RFC 9112, 7.1: the size of a chunk and its extensions.
TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
QUOTED = rb'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"'
CHUNK = re.compile(
    rb"([0-9A-Fa-f]{1,8})"
    rb"(?:[ \t]*;[ \t]*" + TOKEN + rb"(?:[ \t]*=[ \t]*(?:" + TOKEN + rb"|" + QUOTED + rb"))?)*"
)
FIELD = re.compile(rb"(" + TOKEN + rb"):[\t -~\x80-\xff]*")
# RFC 9110, 6.5.1: fields for framing, routing, authentication or content must come before the body. `Trailer`
# itself is ignored like the fields that it announces.
FORBIDDEN_TRAILERS = frozenset(
    b"authorization cache-control connection content-encoding content-length content-range content-type "
    b"cookie expect forwarded host keep-alive max-forwards pragma proxy-authorization proxy-connection range "
    b"set-cookie te transfer-encoding upgrade www-authenticate x-api-key x-forwarded-for x-forwarded-host "
    b"x-forwarded-proto".split()
)


def check(request: Any) -> None:  # noqa: ANN401  (Gunicorn's own)
    """Raises one of Gunicorn's parser errors if the head of a request is invalid."""
    if request.version not in VERSIONS:
        raise InvalidHTTPVersion(request.version)
    hosts, codings, lengths = [], [], 0
    for name, value in request.headers:
        if name == "HOST":
            hosts.append(value)
        elif name == "TRANSFER-ENCODING":
            codings.append(value)
        elif name == "CONTENT-LENGTH":
            lengths += 1
    _check_host(request, hosts)
    if codings:
        _check_codings(request, codings, lengths)


def _check_host(request: Any, hosts: list[str]) -> None:  # noqa: ANN401
    """RFC 9112, 3.2: exactly one Host, equal to the host of a URL in the request line."""
    if len(hosts) > 1 or (not hosts and request.version >= (1, 1)):
        raise InvalidHeader("HOST", req=request)
    if hosts and not HOST.fullmatch(hosts[0]):
        raise InvalidHeader("HOST", req=request)
    target = request.uri
    if ORIGIN.fullmatch(target) or (target == "*" and request.method == "OPTIONS"):
        return
    url = ABSOLUTE.fullmatch(target)
    if not url or not HOST.fullmatch(url[1]) or (hosts and hosts[0].lower() != url[1].lower()):
        raise InvalidRequestLine(target)


def _check_codings(request: Any, codings: list[str], lengths: int) -> None:  # noqa: ANN401
    """RFC 9112, 6.1 and 6.3: the only transfer coding is chunked, and there is no Content-Length."""
    names = [name.strip(" \t").lower() for value in codings for name in value.split(",")]
    if lengths or request.version < (1, 1) or not all(names) or "chunked" in names[:-1]:
        raise InvalidHeader("TRANSFER-ENCODING", req=request)
    if names != ["chunked"]:
        raise UnsupportedTransferCoding(", ".join(names))


def parse_chunk_size(line: bytes) -> int | None:
    """The size in the first line of a chunk; None if the line is malformed."""
    chunk = CHUNK.fullmatch(line)
    return int(chunk[1], 16) if chunk else None


def is_allowed_trailer(line: bytes) -> bool:
    """Whether a line is a field that may follow a chunked body."""
    field = FIELD.fullmatch(line)
    return field is not None and field[1].lower() not in FORBIDDEN_TRAILERS
