"""HTTP by hand, for requests that no library would send."""

import json
import socket
from dataclasses import dataclass
from typing import Any

from tests.serving.servers import Server

HOST = b"Host: 127.0.0.1\r\n"


@dataclass
class Answer:
    """What came back; `closed` is what the server promised about the connection."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def closed(self) -> bool:
        return self.headers.get("connection") == "close"

    @property
    def json(self) -> Any:  # noqa: ANN401  (whatever it is)
        return json.loads(self.body)


def head(method: str, path: str, *lines: str) -> bytes:
    """The head of a request."""
    fields = "".join(f"{line}\r\n" for line in lines)
    return f"{method} {path} HTTP/1.1\r\n".encode() + HOST + fields.encode("latin-1") + b"\r\n"


def post(path: str, body: bytes, *lines: str) -> bytes:
    """A whole request with a body."""
    return head("POST", path, f"Content-Length: {len(body)}", *lines) + body


def chunked(path: str, *chunks: bytes) -> bytes:
    """A whole request whose body comes in chunks, without saying how long it is."""
    frames = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return head("POST", path, "Transfer-Encoding: chunked") + frames + b"0\r\n\r\n"


def read(connection: socket.socket) -> Answer:
    """Reads one answer to its end; raises `ConnectionError` if there is none."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += _some(connection)
    top, _, body = data.partition(b"\r\n\r\n")
    first, *rest = top.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
    while len(body) < int(headers["content-length"]):
        body += _some(connection)
    return Answer(int(first.split()[1]), headers, body)


def ask(server: Server, request: bytes) -> Answer:
    """Sends one request on a connection of its own."""
    with server.connect() as connection:
        connection.sendall(request)
        return read(connection)


def _some(connection: socket.socket) -> bytes:
    part = connection.recv(65536)
    if not part:
        raise ConnectionError("the connection ended before the answer did")
    return part
