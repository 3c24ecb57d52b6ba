"""Requests that RFC 9112 does not allow are refused and their connection is closed.

A proxy in front might interpret them differently.
"""

import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from serving.server.request_validation import FORBIDDEN_TRAILERS
from tests.serving.bundles import COLOURS, one_colour_png
from tests.serving.servers import TIMEOUT, Server, publish, running
from tests.serving.wire import RawResponse, ask, head, post, read

RED = one_colour_png(COLOURS["red"])


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with long deadlines for heads and bodies."""
    with running(
        publish(tmp_path_factory.mktemp("strict")), head_seconds=4 * TIMEOUT, body_seconds=4 * TIMEOUT
    ) as started:
        yield started


def raw(line: str, *fields: str, body: bytes = b"") -> bytes:
    """A request with exactly these lines, without a Host of its own."""
    return "\r\n".join([line, *fields, "", ""]).encode("latin-1") + body


def get(target: str, *fields: str) -> bytes:
    """A request for exactly this target."""
    return raw(f"GET {target} HTTP/1.1", "Host: 127.0.0.1", *fields)


def sending(*fields: str, body: bytes = b"") -> bytes:
    """A request with a body, framed by the fields."""
    return raw("POST /inference HTTP/1.1", "Host: 127.0.0.1", *fields, body=body)


LINES = {
    "a tab in the path": get("/met\trics"),
    "a tab before the path": raw("GET \t/livez HTTP/1.1", "Host: x"),
    "a tab for a space": raw("GET\t/livez\tHTTP/1.1", "Host: x"),
    "a vertical tab in the path": get("/live\x0bz"),
    "a NUL in the path": get("/livez\0"),
    "DEL in the path": get("/livez\x7f"),
    "a bare CR in the path": get("/live\rz"),
    "a bare LF in the path": get("/live\nz"),
    "a fragment": get("/livez#there"),
    "two spaces": raw("GET  /livez HTTP/1.1", "Host: x"),
    "a space behind the version": raw("GET /livez HTTP/1.1 ", "Host: x"),
    "a space in the path": get("/live z"),
    "no path": raw("GET  HTTP/1.1", "Host: x"),
    "a relative path": get("livez"),
    "an asterisk": get("*"),
    "an authority": get("127.0.0.1:80"),
    "a tunnel": raw("CONNECT 127.0.0.1:80 HTTP/1.1", "Host: 127.0.0.1:80"),
    "a URL for another host": raw("GET http://other/livez HTTP/1.1", "Host: x"),
    "a URL with a user": raw("GET http://user@x/livez HTTP/1.1", "Host: x"),
    "a URL without a host": raw("GET http:///livez HTTP/1.1", "Host: x"),
    "another scheme": raw("GET ftp://x/livez HTTP/1.1", "Host: x"),
    "no version": b"GET /livez\r\n\r\n",
    "a version to come": raw("GET /livez HTTP/1.2", "Host: x"),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "lower case": raw("get /livez HTTP/1.1", "Host: x"),
    "an odd method": raw("GE(T /livez HTTP/1.1", "Host: x"),
    "a long method": raw("A" * 1000 + " /livez HTTP/1.1", "Host: x"),
    "lines end with LF": b"GET /livez HTTP/1.1\nHost: x\n\n",
    "the first line ends with LF": b"GET /livez HTTP/1.1\nHost: x\r\n\r\n",
    "the last line ends with LF": b"GET /livez HTTP/1.1\r\nHost: x\r\n\n",
    "an empty line of LF": b"\nGET /livez HTTP/1.1\r\nHost: x\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}
FIELDS = {
    "no Host": raw("GET /livez HTTP/1.1"),
    "two Hosts": raw("GET /livez HTTP/1.1", "Host: x", "Host: x"),
    "a Host with a path": raw("GET /livez HTTP/1.1", "Host: x/y"),
    "a Host with a space": raw("GET /livez HTTP/1.1", "Host: x y"),
    "a Host with a user": raw("GET /livez HTTP/1.1", "Host: user@x"),
    "a Host with a comma": raw("GET /livez HTTP/1.1", "Host: x, y"),
    "a Host with a port of letters": raw("GET /livez HTTP/1.1", "Host: x:http"),
    "a Host that is no ASCII": raw("GET /livez HTTP/1.1", "Host: k\xc3\xb6ln"),
    "a Host with half a bracket": raw("GET /livez HTTP/1.1", "Host: [::1"),
    "a space before the colon": get("/livez", "X-Name : y"),
    "a space before the name": get("/livez", " X-Name: y"),
    "a folded line": get("/livez", "X-Name: y", " z"),
    "a folded line with a tab": get("/livez", "X-Name: y", "\tz"),
    "no colon": get("/livez", "X-Name"),
    "a name with a bracket": get("/livez", "X(Name): y"),
    "a name that is no ASCII": get("/livez", "X-N\xe4me: y"),
    "a bare CR in a value": get("/livez", "X-Name: y\rz"),
    "a bare LF in a value": get("/livez", "X-Name: y\nX-Other: z"),
    "a NUL in a value": get("/livez", "X-Name: y\0z"),
    "a bell in a value": get("/livez", "X-Name: y\x07z"),
    "DEL in a value": get("/livez", "X-Name: y\x7fz"),
}
CHUNKED = "Transfer-Encoding: chunked"
LENGTHS = {
    "a length with a sign": sending("Content-Length: +5", body=b"12345"),
    "a length with an underscore": sending("Content-Length: 1_0", body=b"1234567890"),
    "a list of lengths": sending("Content-Length: 5 , 5", body=b"12345"),
    "a length in hexadecimal": sending("Content-Length: 0x5", body=b"12345"),
    "a length with a point": sending("Content-Length: 5.0", body=b"12345"),
    "a length of other digits": sending("Content-Length: \xb2", body=b"12"),
    "no length": sending("Content-Length:"),
    "an endless length": sending("Content-Length: " + "9" * 5000),
    "the same length twice": sending("Content-Length: 5", "Content-Length: 5", body=b"12345"),
    "length and chunks": sending("Content-Length: 5", CHUNKED, body=b"0\r\n\r\n"),
    "length and identity": sending("Content-Length: 500", "Transfer-Encoding: identity", body=b"12345"),
    "length and another coding": sending("Content-Length: 5", "Transfer-Encoding: gzip", body=b"12345"),
    "chunks twice": sending("Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n"),
    "chunks in two fields": sending(CHUNKED, CHUNKED, body=b"0\r\n\r\n"),
    "chunks before another coding": sending("Transfer-Encoding: chunked, gzip", body=b"0\r\n\r\n"),
    "chunks before identity": sending("Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n"),
    "chunks in HTTP/1.0": raw("POST /inference HTTP/1.0", "Host: x", CHUNKED, body=b"0\r\n\r\n"),
    "a control character in the coding": sending("Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n"),
}
CODINGS = [
    "gzip, chunked", "identity", "identity, chunked", "deflate", "x-chunked", '"chunked"', "chunked;a=b",
    "chunked,", "",
]  # fmt: skip
MALFORMED = LINES | FIELDS | LENGTHS
SIZES = {
    "a sign": b"+5\r\n12345\r\n0\r\n\r\n",
    "a negative size": b"-5\r\n12345\r\n0\r\n\r\n",
    "an underscore": b"1_0\r\n" + bytes(16) + b"\r\n0\r\n\r\n",
    "0x": b"0x5\r\n12345\r\n0\r\n\r\n",
    "a space before": b" 5\r\n12345\r\n0\r\n\r\n",
    "a space behind": b"5 \r\n12345\r\n0\r\n\r\n",
    "no size": b";a=b\r\n12345\r\n0\r\n\r\n",
    "LF behind the size": b"5\n12345\r\n0\r\n\r\n",
    "LF behind the data": b"5\r\n12345\n0\r\n\r\n",
    "nothing behind the data": b"5\r\n123450\r\n\r\n",
    "a control character in an extension": b"5;a=\x01\r\n12345\r\n0\r\n\r\n",
    "a bare CR in an extension": b"5;a\rb\r\n12345\r\n0\r\n\r\n",
    "a bare LF in an extension": b"5;a\nb\r\n12345\r\n0\r\n\r\n",
    "a NUL in an extension": b"5;\0\r\n12345\r\n0\r\n\r\n",
    "an extension without a name": b"5;=b\r\n12345\r\n0\r\n\r\n",
    "an extension without an end": b'5;a="b\r\n12345\r\n0\r\n\r\n',
    "a control character in the last extension": b"5\r\n12345\r\n0;\x7f\r\n\r\n",
    "a trailer without a colon": b"5\r\n12345\r\n0\r\nx\r\n\r\n",
    "a folded trailer": b"5\r\n12345\r\n0\r\nX: y\r\n z\r\n\r\n",
    "a trailer with a space before the colon": b"5\r\n12345\r\n0\r\nX : y\r\n\r\n",
    "a bare LF in a trailer": b"5\r\n12345\r\n0\r\nX: y\nZ: a\r\n\r\n",
    "a NUL in a trailer": b"5\r\n12345\r\n0\r\nX: \0\r\n\r\n",
}
TRAILERS = {
    f"the trailer {name.decode()}": b"5\r\n12345\r\n0\r\n%b: 1\r\n\r\n" % name.title()
    for name in sorted(FORBIDDEN_TRAILERS)
}


def answer_to(server: Server, request: bytes) -> RawResponse:
    """The response to bytes, which may come while they are still being sent."""
    with server.connect() as connection:
        with suppress(OSError):
            connection.sendall(request)
        return read(connection)


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_malformed_is_refused(strict: Server, name: str) -> None:
    answer = answer_to(strict, MALFORMED[name])
    assert (answer.status, answer.json["code"], answer.closed) == (400, "request_malformed", True)
    assert strict.log()[-1]["request_id"] == answer.json["request_id"]


@pytest.mark.parametrize("coding", CODINGS)
def test_other_codings_are_not_known(strict: Server, coding: str) -> None:
    answer = answer_to(strict, sending(f"Transfer-Encoding: {coding}", body=b"0\r\n\r\n"))
    assert (answer.status, answer.json["code"], answer.closed) == (501, "coding_unknown", True)


@pytest.mark.parametrize("name", SIZES | TRAILERS)
def test_chunks_that_are_none_are_refused(strict: Server, name: str) -> None:
    answer = answer_to(strict, sending(CHUNKED, body=(SIZES | TRAILERS)[name]))
    assert (answer.status, answer.json["code"], answer.closed) == (400, "body_malformed", True)


def test_body_that_is_cut_short_is_not_hidden(strict: Server) -> None:
    with strict.connect() as connection:
        connection.sendall(sending("Transfer-Encoding: identity", "Content-Length: 5000", body=RED[:10]))
        connection.shutdown(socket.SHUT_WR)
        assert read(connection).status == 400


# Requests that clients and proxies do send, and the status.
FINE = {
    "the least": (raw("GET /livez HTTP/1.1", "Host: x"), 200),
    "HTTP/1.0": (raw("GET /livez HTTP/1.0"), 200),
    "a proxy of HTTP/1.0": (raw("GET /livez HTTP/1.0", "Host: backend", "Connection: close"), 200),
    "an empty line before": (b"\r\n" + get("/livez"), 200),
    "empty lines before": (b"\r\n\r\n" + get("/livez"), 200),
    "a URL": (raw("GET http://x:5000/livez HTTP/1.1", "Host: X:5000"), 200),
    "a URL with a query": (raw("GET http://x/livez?a=b HTTP/1.1", "Host: x"), 200),
    "an IPv6 host": (raw("GET /livez HTTP/1.1", "Host: [::1]:5000"), 200),
    "a container's host": (raw("GET /livez HTTP/1.1", "Host: my_server.internal:80"), 200),
    "no host by name": (raw("GET /livez HTTP/1.1", "Host:"), 200),
    "letters beyond ASCII, as curl sends them": (get("/livez?name=K\xc3\xb6ln"), 200),
    "escapes": (get("/livez?name=K%C3%B6ln&x=%00"), 200),
    "marks as browsers send them": (get("/livez?a='b'|{c}[d]^`\"<>\\"), 200),
    "UTF-8 in a value": (get("/livez", "X-Name: K\xc3\xb6ln"), 200),
    "a tab in a value": (get("/livez", "X-Name: y\tz"), 200),
    "an empty value": (get("/livez", "X-Name:"), 200),
    "no space behind the colon": (get("/livez", "X-Name:y"), 200),
    "all servers": (raw("OPTIONS * HTTP/1.1", "Host: x"), 404),
    "a method of WebDAV": (raw("VERSION-CONTROL /livez HTTP/1.1", "Host: x"), 405),
    "zeros before a length": (sending(f"Content-Length: 000{len(RED)}", body=RED), 200),
    "capitals": (sending("TRANSFER-ENCODING: Chunked", body=b"%X\r\n%b\r\n0\r\n\r\n" % (len(RED), RED)), 200),
    "extensions": (sending(CHUNKED, body=b'%x ; a="\\"b;c" ;d\r\n%b\r\n0\r\n\r\n' % (len(RED), RED)), 200),
    "trailers": (
        sending(CHUNKED, body=b"%x\r\n%b\r\n0\r\nX-Sum: 1\r\nETag: \r\n\r\n" % (len(RED), RED)),
        200,
    ),
}


@pytest.mark.parametrize("name", FINE)
def test_what_is_well_formed_is_answered(strict: Server, name: str) -> None:
    request, status = FINE[name]
    assert answer_to(strict, request).status == status


def test_next_request_is_not_taken_out_of_a_malformed_one(strict: Server) -> None:
    hidden = post("/inference", RED)
    for first in (LENGTHS["length and chunks"], sending(CHUNKED, body=SIZES["a space behind"])):
        with strict.connect() as connection:
            connection.sendall(first + hidden)
            assert read(connection).closed
            assert connection.recv(65536) == b""
    assert ask(strict, head("GET", "/livez")).status == 200
