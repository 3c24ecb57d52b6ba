"""What a request must look like beyond what Gunicorn's parser asks for, as RFC 9112 and RFC 9110 have it.

A proxy in front and this server must agree where a request ends and whom it is for; where a message is
ambiguous they may not, and one request becomes two. So nothing is repaired or guessed.
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
# RFC 9112, 3.2.1 and 3.2.2: an absolute path, or a URL with one; a fragment is never sent. Of what RFC 3986
# does not allow either, browsers and curl send some marks and letters beyond ASCII, which do no harm.
ORIGIN = re.compile(r"/[!\"$-~\x80-\xff]*")
ABSOLUTE = re.compile(r"https?://([^/?#]+)(?:[/?][!\"$-~\x80-\xff]*)?", re.IGNORECASE)
# RFC 9110, 7.2: a name, an address or an IPv6 one in brackets, and a port. A name has no marks that would
# have to be escaped elsewhere.
HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~-]*)(?::[0-9]{0,5})?")
# RFC 9112, 7.1: of a chunk its size, and what its extensions say.
TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
QUOTED = rb'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"'
CHUNK = re.compile(
    rb"([0-9A-Fa-f]{1,8})"
    rb"(?:[ \t]*;[ \t]*" + TOKEN + rb"(?:[ \t]*=[ \t]*(?:" + TOKEN + rb"|" + QUOTED + rb"))?)*"
)
FIELD = re.compile(rb"(" + TOKEN + rb"):[\t -~\x80-\xff]*")
# RFC 9110, 6.5.1: what frames or routes a message, says who asks, or how to read it, comes before the body.
# `Trailer` itself is passed over like the fields that it announces.
NO_TRAILERS = frozenset(
    b"authorization cache-control connection content-encoding content-length content-range content-type "
    b"cookie expect forwarded host keep-alive max-forwards pragma proxy-authorization proxy-connection range "
    b"set-cookie te transfer-encoding upgrade www-authenticate x-api-key x-forwarded-for x-forwarded-host "
    b"x-forwarded-proto".split()
)


def check(request: Any) -> None:  # noqa: ANN401  (Gunicorn's own)
    """Raises one of Gunicorn's errors if the head of a request is not as it must be."""
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
    """RFC 9112, 3.2: one Host, which a URL in the request line must not contradict."""
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
    """RFC 9112, 6.1 and 6.3: the one coding is chunked, and nothing else says how long the body is."""
    names = [name.strip(" \t").lower() for value in codings for name in value.split(",")]
    if lengths or request.version < (1, 1) or not all(names) or "chunked" in names[:-1]:
        raise InvalidHeader("TRANSFER-ENCODING", req=request)
    if names != ["chunked"]:
        raise UnsupportedTransferCoding(", ".join(names))


def chunk_size(line: bytes) -> int | None:
    """How long a chunk is, as its first line says; None if it is no such line."""
    chunk = CHUNK.fullmatch(line)
    return int(chunk[1], 16) if chunk else None


def is_trailer(line: bytes) -> bool:
    """May a line come behind a body in chunks?"""
    field = FIELD.fullmatch(line)
    return field is not None and field[1].lower() not in NO_TRAILERS
