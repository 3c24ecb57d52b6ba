"""HTTP over bare sockets, for requests that no library would send."""

import json
import select
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tests.serving.servers import Server

HOST = b"Host: 127.0.0.1\r\n"


@dataclass
class RawResponse:
    """A response. `closed` is whether its headers announce the end of the connection."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def closed(self) -> bool:
        return self.headers.get("connection") == "close"

    @property
    def json(self) -> Any:  # noqa: ANN401  (any JSON value)
        return json.loads(self.body)


def head(method: str, path: str, *lines: str) -> bytes:
    """The head of a request."""
    fields = "".join(f"{line}\r\n" for line in lines)
    return f"{method} {path} HTTP/1.1\r\n".encode() + HOST + fields.encode("latin-1") + b"\r\n"


def post(path: str, body: bytes, *lines: str) -> bytes:
    """A whole request with a body."""
    return head("POST", path, f"Content-Length: {len(body)}", *lines) + body


def chunked(path: str, *chunks: bytes) -> bytes:
    """A whole request with a chunked body."""
    frames = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return head("POST", path, "Transfer-Encoding: chunked") + frames + b"0\r\n\r\n"


def read(connection: socket.socket) -> RawResponse:
    """Reads one response to its end; raises `ConnectionError` if the connection ends before."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += _receive(connection)
    top, _, body = data.partition(b"\r\n\r\n")
    first, *rest = top.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
    while len(body) < int(headers["content-length"]):
        body += _receive(connection)
    return RawResponse(int(first.split()[1]), headers, body)


def ask(server: Server, request: bytes) -> RawResponse:
    """Sends one request on a connection of its own."""
    with server.connect() as connection:
        connection.sendall(request)
        return read(connection)


def assert_responsive(server: Server) -> None:
    """Health checks and metrics respond within `TIMEOUT`."""
    for path in ("/livez", "/readyz", "/metrics"):
        assert ask(server, head("GET", path)).status == 200


def readable(connections: Iterable[socket.socket]) -> list[socket.socket]:
    """The connections on which a response, or the end of the connection, has arrived."""
    by_descriptor = {connection.fileno(): connection for connection in connections}
    poll = select.poll()
    for descriptor in by_descriptor:
        poll.register(descriptor, select.POLLIN)
    return [by_descriptor[descriptor] for descriptor, _ in poll.poll(0)]


def _receive(connection: socket.socket) -> bytes:
    part = connection.recv(65536)
    if not part:
        raise ConnectionError("the connection ended before the response did")
    return part
