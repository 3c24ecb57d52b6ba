"""Invalid requests get an error in their protocol's format, and the connection stays usable."""

import gzip
import json
import struct
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from tests.serving.api.protocols.calls import (
    CALLS,
    HALF_PAIRS,
    HEADER,
    JSON,
    MODEL,
    NO_UTF_8,
    ODD,
    ODD_VALUES,
    TENSOR,
    base64,
    documents,
    tensor,
    with_text,
    with_value,
)
from tests.serving.bundles import COLOURS, SIZE, one_colour_png
from tests.serving.servers import Server
from tests.serving.wire import HOST, RawResponse, head, post, read

RED = one_colour_png(COLOURS["red"])
B64 = base64(RED)
EACH = SIZE * SIZE * 3
MEGABYTE = 1_000_000
INFER, INFER_TENSOR = f"/v2/models/{MODEL}/infer", f"/v2/models/{TENSOR}/infer"
PREDICT, PREDICT_TENSOR = f"/v1/models/{MODEL}:predict", f"/v1/models/{TENSOR}:predict"
DEEP = b"[" * 10_000 + b"]" * 10_000


class Case(NamedTuple):
    """A request, and the status and code of its error."""

    request: bytes
    status: int
    code: str


def given(**more: Any) -> dict[str, Any]:  # noqa: ANN401  (JSON)
    """An input of the Open Inference Protocol; members that are `None` are left out."""
    found = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [B64]} | more
    return {name: value for name, value in found.items() if value is not None}


def sized(size: object, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    """A binary input, which follows the document."""
    return given(data=None, parameters={"binary_data_size": size}, **more)


def infer(*inputs: Any, tail: bytes = b"", path: str = INFER, **more: Any) -> bytes:  # noqa: ANN401
    """A request of the Open Inference Protocol."""
    document = json.dumps({"inputs": inputs, **more}).encode()
    lines = [f"{HEADER}: {len(document)}"] if tail else []
    return post(path, document + tail, *lines)


def pixels(shape: object, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    """An input of pixels."""
    return given(shape=shape, datatype="UINT8", **more)


ELEMENT = struct.pack("<I", len(RED)) + RED
DATA, TENSORS = "document_malformed", "tensor_invalid"

# The Open Inference Protocol.
LENGTHS = ("99999999999", "9" * 400, "-1", "abc", "", " ", "1.0", "0x10", "+5", "1_0", "5, 5", "\u00b2")
OPEN_INFERENCE = {
    **{f"header length {n!r}": Case(post(INFER, b"{}", f"{HEADER}: {n}"), 400, DATA) for n in LENGTHS},
    "header length beyond the body": Case(post(INFER, b"{}", f"{HEADER}: 3"), 400, DATA),
    "header length twice": Case(post(INFER, b"{}", f"{HEADER}: 2", f"{HEADER}: 2"), 400, DATA),
    "header length within the document": Case(post(INFER, b'{"inputs": []}', f"{HEADER}: 5"), 400, DATA),
    "nothing": Case(post(INFER, b""), 400, DATA),
    "no document": Case(post(INFER, RED), 400, DATA),
    "raw, nothing": Case(post(INFER, b"", f"{HEADER}: 0"), 400, "image_empty"),
    "raw tensor, nothing": Case(post(INFER_TENSOR, b"", f"{HEADER}: 0"), 400, TENSORS),
    "raw tensor, a byte more": Case(post(INFER_TENSOR, bytes(EACH + 1), f"{HEADER}: 0"), 400, TENSORS),
    "raw tensor, too many": Case(
        post(INFER_TENSOR, bytes(17 * EACH), f"{HEADER}: 0"), 400, "images_too_many"
    ),
    "no inputs": Case(infer(), 400, TENSORS),
    "two inputs": Case(infer(given(), given()), 400, TENSORS),
    "another input": Case(infer(given(name="x")), 400, TENSORS),
    "input without a name": Case(infer(given(name=None)), 400, DATA),
    "no data": Case(infer(given(data=None)), 400, TENSORS),
    "data and bytes": Case(
        infer(given(parameters={"binary_data_size": len(ELEMENT)}), tail=ELEMENT), 400, TENSORS
    ),
    "bytes that nobody named": Case(infer(given(), tail=ELEMENT), 400, TENSORS),
    "trailing bytes": Case(infer(sized(len(ELEMENT)), tail=ELEMENT + b"x"), 400, TENSORS),
    "trailing bytes within": Case(infer(sized(len(ELEMENT) + 1), tail=ELEMENT + b"x"), 400, TENSORS),
    "bytes missing": Case(infer(sized(len(ELEMENT)), tail=ELEMENT[:-1]), 400, TENSORS),
    "element longer than it says": Case(infer(sized(5), tail=b"\2\0\0\0x"), 400, TENSORS),
    "element of 4 GB": Case(infer(sized(4), tail=b"\xff\xff\xff\xff"), 400, TENSORS),
    "half a length": Case(infer(sized(2), tail=b"\0\0"), 400, TENSORS),
    "more elements than there are": Case(infer(sized(len(ELEMENT), shape=[2]), tail=ELEMENT), 400, TENSORS),
    "size true": Case(infer(sized(True), tail=b"x"), 400, DATA),
    "size huge": Case(infer(sized(10**30), tail=b"x"), 400, TENSORS),
    "size large": Case(infer(sized(2**63 - 1), tail=b"x"), 400, TENSORS),
    "size negative": Case(infer(sized(-1), tail=b"x"), 400, DATA),
    "size as text": Case(infer(sized("1"), tail=b"x"), 400, DATA),
    "pixels missing": Case(
        infer(sized(EACH - 1, datatype="UINT8", shape=[1, 8, 8, 3]), tail=bytes(EACH - 1), path=INFER_TENSOR),
        *(400, TENSORS),
    ),
    **{
        f"shape {shape!r}": Case(infer(given(shape=shape), path=INFER), 400, TENSORS)
        for shape in ([], [0], [-1], [2], [1, 2], [1, 1, 1], [1, 2, 3, 4], [1] * 100)
    },
    **{
        f"shape {shape!r} of pixels": Case(infer(pixels(shape, data=[0]), path=INFER_TENSOR), 400, TENSORS)
        for shape in ([1], [-1, 8, 8, 3], [1, 8, 8, 4], [1, 8, 8, 3, 1], [0, 8, 8, 3], [1, 8, 8, 3])
    },
    "shape that overflows": Case(
        infer(pixels([2**32, 8, 8, 3], data=[0]), path=INFER_TENSOR), 400, "images_too_many"
    ),
    "shape beyond 64 bits": Case(infer(given(shape=[10**30])), 400, "images_too_many"),
    "shape with a fraction": Case(infer(given(shape=[1.5])), 400, DATA),
    "shape true": Case(infer(given(shape=[True])), 400, DATA),
    "shape as text": Case(infer(given(shape="1")), 400, DATA),
    **{
        f"datatype {kind!r}": Case(infer(given(datatype=kind)), 400, TENSORS)
        for kind in ("UINT8", "STRING", "bytes", "", "FP32")
    },
    "datatype null": Case(infer(given(datatype=None)), 400, DATA),
    "too many images": Case(infer(given(shape=[17], data=[B64] * 17)), 400, "images_too_many"),
    "not base64": Case(infer(given(data=["\u00e4"])), 400, DATA),
    "base64 for URLs": Case(infer(given(data=["-_8="])), 400, DATA),
    "base64 without padding": Case(infer(given(data=["AAA"])), 400, DATA),
    "numbers for images": Case(infer(given(data=[1])), 400, DATA),
    "an image of nothing": Case(infer(given(data=[""])), 400, "image_empty"),
    "no image": Case(infer(given(data=["AAAA"])), 400, "image_unrecognised"),
    "output twice": Case(infer(given(), outputs=[{"name": "probabilities"}] * 2), 400, TENSORS),
    "another output": Case(infer(given(), outputs=[{"name": "logits"}]), 400, TENSORS),
    "classes below none": Case(
        infer(given(), outputs=[{"name": "probabilities", "parameters": {"classification": -1}}]), 400, DATA
    ),
    "binary as text": Case(infer(given(), parameters={"binary_data_output": "yes"}), 400, DATA),
    "id as a number": Case(infer(given(), id=7), 400, DATA),
}

# Documents that are invalid for every path: by nesting, size or type.
PATHS = {
    INFER: ("inputs", "data"),
    INFER_TENSOR: ("inputs", "data"),
    PREDICT: ("instances", "inputs"),
    PREDICT_TENSOR: ("instances", "inputs"),
    f"/v1/models/{MODEL}:classify": ("examples", "instances"),
    "/invocations": ("inputs", "instances", "dataframe_split", "dataframe_records"),
    "/vertex/predict": ("instances", "parameters"),
    "/hf/classify": ("inputs", "parameters"),
}
VALUES = {
    "depth": DEEP,
    "depth, open": b"[" * 10_000,
    "depth of objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "huge integer": b"9" * 5000,
    "huge float": b"1e999",
    "NaN": b"NaN",
    "infinity": b"[Infinity]",
    "null": b"null",
    "number": b"1",
    "nulls": b"[null, null]",
    "half a surrogate": b'["\\ud800"]',
    "broken UTF-8": b'["\xff\xfe"]',
    "a million lists": b"[" + b"[]," * MEGABYTE + b"[]]",
    "empty": b"[]",
    "empty object": b"{}",
}
DOCUMENTS = {
    f"{path} {member} {name}": Case(post(path, b'{"%b":%b}' % (member.encode(), value), JSON), 400, "")
    for path, members in PATHS.items()
    for member in members
    for name, value in VALUES.items()
} | {
    f"{path} {name}": Case(post(path, body, JSON), 400, "")
    for path in PATHS
    for name, body in {
        "depth": b"{" + DEEP,
        "depth of a member that is not known": b'{"unknown":' + DEEP + b"}",
        "no JSON": b"{'a': 1}",
        "UTF-16": '{"inputs": []}'.encode("utf-16"),
        "two documents": b"{} {}",
        "nothing else": b"{}",
    }.items()
    # Here it could be an image.
    if path != "/hf/classify" or body.startswith(b"{")
}

ONE = [[[[0] * 3] * SIZE] * SIZE]
OTHERS = {
    "instances and inputs": Case(
        post(PREDICT, json.dumps({"instances": [{"b64": B64}], "inputs": {"b64": B64}}).encode()), 400, DATA
    ),
    "another signature": Case(
        post(PREDICT, json.dumps({"instances": [{"b64": B64}], "signature_name": "x"}).encode()),
        *(400, "signature_wrong"),
    ),
    "no b64": Case(post(PREDICT, json.dumps({"instances": [B64]}).encode()), 400, DATA),
    "two images in one": Case(
        post(PREDICT, json.dumps({"instances": [{"b64": B64, "image": {"b64": B64}}]}).encode()), 400, DATA
    ),
    "too many instances": Case(
        post(PREDICT, json.dumps({"instances": [{"b64": B64}] * 17}).encode()), 400, "images_too_many"
    ),
    "classify a tensor": Case(post(f"/v1/models/{TENSOR}:classify", b"{}"), 400, "signature_wrong"),
    **{
        f"pixels {name}": Case(post(PREDICT_TENSOR, json.dumps({"instances": value}).encode()), 400, TENSORS)
        for name, value in {
            "too deep": [ONE],
            "too flat": ONE[0],
            "flat": [0] * EACH,
            "ragged": [[*ONE[0][:-1], ONE[0][0][:-1]]],
            "moved": [[[[0, 0], [0, 0, 0, 0], *ONE[0][0][2:]], *ONE[0][1:]]],
            "of 256": [[[[256, 0, 0], *ONE[0][0][1:]], *ONE[0][1:]]],
            "below 0": [[[[-1, 0, 0], *ONE[0][0][1:]], *ONE[0][1:]]],
            "with a fraction": [[[[0.5, 0, 0], *ONE[0][0][1:]], *ONE[0][1:]]],
            "huge": [[[[10**30, 0, 0], *ONE[0][0][1:]], *ONE[0][1:]]],
            "true": [[[[True, 0, 0], *ONE[0][0][1:]], *ONE[0][1:]]],
            "as texts": [[[["0", 0, 0], *ONE[0][0][1:]], *ONE[0][1:]]],
        }.items()
    },
    "too many tensors": Case(
        post(PREDICT_TENSOR, json.dumps({"instances": ONE * 17}).encode()), 400, "images_too_many"
    ),
    "two forms": Case(
        post("/invocations", json.dumps({"inputs": [B64], "instances": [B64]}).encode(), JSON), 400, DATA
    ),
    "two columns": Case(
        post("/invocations", json.dumps({"dataframe_records": [{"a": B64, "b": B64}]}).encode(), JSON),
        *(400, DATA),
    ),
    "a table with other members": Case(
        post("/invocations", json.dumps({"dataframe_split": {"data": [[B64]], "x": 1}}).encode(), JSON),
        *(400, DATA),
    ),
    "a signature, which MLflow does not take": Case(
        post("/invocations", json.dumps({"signature_name": "x", "data": [B64]}).encode(), JSON), 400, DATA
    ),
    "top_k of none": Case(
        post("/hf/classify", json.dumps({"inputs": B64, "parameters": {"top_k": 0}}).encode()), 400, DATA
    ),
}

# Unknown paths of each protocol.
NAMES = ("nobody", "Colours", "%2e%2e", "..%2f..", "%00", "x" * 300, "\u00e4", "colours%20", "*", "None")
NOWHERE = {
    f"{method} {path}": Case(head(method, path, "Content-Length: 0"), 404, "")
    for name in NAMES
    for method, path in (
        ("GET", f"/v2/models/{name}"),
        ("GET", f"/v2/models/{name}/ready"),
        ("POST", f"/v2/models/{name}/infer"),
        ("POST", f"/v2/repository/models/{name}/load"),
        ("GET", f"/v1/models/{name}"),
        ("GET", f"/v1/models/{name}/metadata"),
        ("POST", f"/v1/models/{name}:predict"),
        ("POST", f"/v1/models/{MODEL}/labels/{name}:predict"),
        ("POST", f"/v1/models/{MODEL}/versions/{name}:classify"),
        ("POST", f"/v2/models/{MODEL}/versions/{name}/infer"),
    )
} | {
    f"{method} {path}": Case(head(method, path, "Content-Length: 0"), 404, "")
    for method, path in (
        *(("GET", "/v2/x"), ("GET", "/v1"), ("POST", "/v1/predict"), ("GET", "/ping/x"), ("GET", "/hf")),
        *(("POST", "/v2/models//infer"), ("GET", "/v2/models/colours/versions/03"), ("GET", "/v2/logging")),
        *(
            ("POST", "/v1/models/colours/versions/4:predict"),
            ("POST", "/v1/models/colours/labels/stable:predict"),
        ),
    )
}
METHODS = {
    f"{method} {path}": Case(head(method, path, "Content-Length: 0"), 405, "method_not_allowed")
    for method, path in (
        *(("GET", INFER), ("DELETE", f"/v2/models/{MODEL}"), ("POST", "/v2/health/live"), ("PUT", "/v2")),
        *(("GET", PREDICT), ("POST", f"/v1/models/{MODEL}"), ("GET", "/invocations"), ("POST", "/ping")),
        *(("GET", "/hf/classify"), ("GET", "/vertex/predict"), ("POST", "/vertex/health")),
    )
}


def compressed(path: str, body: bytes, encoding: str = "gzip") -> bytes:
    """A request with a Content-Encoding."""
    return post(path, body, f"Content-Encoding: {encoding}", JSON)


QUESTION = json.dumps(tensor(B64)).encode()
ENCODINGS = {
    f"{path} {name}": Case(compressed(path, body, encoding), status, code)
    for path in (INFER, PREDICT, "/invocations", "/hf/classify", "/vertex/predict", "/predict")
    for name, (body, encoding, status, code) in {
        "cut": (gzip.compress(QUESTION)[:-9], "gzip", 400, "encoding_malformed"),
        "cut at once": (b"", "gzip", 400, "encoding_malformed"),
        "followed": (gzip.compress(QUESTION) + b"x", "gzip", 400, "encoding_malformed"),
        "twice": (gzip.compress(QUESTION) * 2, "gzip", 400, "encoding_malformed"),
        "not compressed": (QUESTION, "gzip", 400, "encoding_malformed"),
        "damaged": (gzip.compress(QUESTION)[:-8] + bytes(8), "gzip", 400, "encoding_malformed"),
        "the other one": (zlib.compress(QUESTION), "gzip", 400, "encoding_malformed"),
        "without its wrapper": (zlib.compress(QUESTION)[2:-4], "deflate", 400, "encoding_malformed"),
        "not known": (QUESTION, "br", 415, "encoding_unknown"),
        "several": (QUESTION, "gzip, deflate", 415, "encoding_unknown"),
        "a bomb": (gzip.compress(bytes(100 * MEGABYTE)), "gzip", 413, "body_too_large"),
    }.items()
}

# Errors that are sent before the body was read; it must not be parsed as the next request.
LARGE = bytes(MEGABYTE)
UNREAD = {
    path: Case(post(path, LARGE, JSON), status, "")
    for path, status in {
        "/v2/models/nobody/infer": 404,
        "/v2/x": 404,
        "/v2/repository/models/colours/load": 403,
        "/v2/models": 405,
        INFER: 400,
        "/v1/models/nobody:predict": 404,
        f"/v1/models/{MODEL}:regress": 400,
        PREDICT: 400,
        "/invocations": 400,
        "/ping": 405,
        "/hf/classify": 415,
        "/hf/nobody": 404,
        "/vertex/predict": 400,
    }.items()
}


def check(server: Server, case: Case) -> RawResponse:
    """Sends it, then a valid request on the same connection; returns the first response."""
    with server.connect() as connection:
        connection.sendall(case.request)
        response = read(connection)
        assert response.status == case.status, response.body
        assert not response.closed
        good = CALLS["open inference"]
        connection.sendall(good.request(RED))
        assert max(good.read(read(connection))) > 0.9
    assert_error_format(case.request.split()[1].decode("latin-1"), response, case.code)
    return response


def assert_error_format(path: str, response: RawResponse, code: str) -> None:
    """Asserts the error format of the path's protocol, with a sentence and a code but no internals."""
    problem = response.json
    if path.startswith(("/invocations", "/ping", "/health")):
        sentence = problem["message"]
        assert problem["error_code"].isupper()
    elif path.startswith(("/v1", "/v2", "/hf", "/vertex")):
        sentence = problem["error"]
    else:
        sentence = problem["detail"]
        assert response.headers["content-type"] == "application/problem+json"
    if "detail" not in problem:
        assert response.headers["content-type"] == "application/json"
    assert sentence[0].isupper()
    assert sentence.endswith((".", "?"))
    assert problem["code"] == code or not code
    assert problem["request_id"] == response.headers["x-request-id"]
    assert b"Traceback" not in response.body


@pytest.mark.parametrize("name", OPEN_INFERENCE)
def test_open_inference(protocol_server: Server, name: str) -> None:
    check(protocol_server, OPEN_INFERENCE[name])


def test_documents(protocol_server: Server) -> None:
    for name, case in DOCUMENTS.items():
        try:
            check(protocol_server, case)
        except AssertionError as error:
            raise AssertionError(name) from error


TEXTS = documents(RED)


def ask_all(server: Server, name: str, bodies: dict[str, bytes]) -> dict[str, RawResponse]:
    """Sends a call with each of the documents on one connection."""
    found = {}
    with server.connect() as connection:
        for place, body in bodies.items():
            connection.sendall(TEXTS[name].request(body))
            found[place] = read(connection)
            assert not found[place].closed, place
    return found


@pytest.mark.parametrize("name", TEXTS)
def test_a_document_that_is_not_unicode_is_malformed(protocol_server: Server, name: str) -> None:
    document = TEXTS[name]
    bodies = {
        f"{kind} {place}": body
        for kind, text in (NO_UTF_8 | HALF_PAIRS).items()
        for place, body in with_text(document.data, text).items()
    }
    bodies |= {encoding: document.data.decode().encode(encoding) for encoding in ("utf-16", "utf-32")}
    # RFC 8259, 8.1: a BOM must not be sent, and a parser may reject it.
    bodies |= {"utf-8-sig": document.data.decode().encode("utf-8-sig")}
    bodies |= {
        "at the end": document.data + b"\xff",
        "within": document.data[:1] + b"\xff" + document.data[1:],
    }
    for place, response in ask_all(protocol_server, name, bodies).items():
        assert (response.status, response.json["code"]) == (400, DATA), (place, response.body)
        assert_error_format(document.path, response, DATA)


@pytest.mark.parametrize("name", TEXTS)
def test_no_document_causes_a_server_error(protocol_server: Server, name: str) -> None:
    document = TEXTS[name].data
    bodies = {
        f"{kind} {place}": body
        for kind, text in ODD.items()
        for place, body in with_text(document, text).items()
    }
    bodies |= {
        f"{kind} {place}": body
        for kind, value in ODD_VALUES.items()
        for place, body in with_value(document, value).items()
    }
    bodies |= {f"cut at {size}": document[:size] for size in range(0, len(document), 7)}
    for place, response in ask_all(protocol_server, name, bodies).items():
        assert response.status in (200, 400, 415), (place, response.body)
        if response.status != 200:
            assert_error_format(TEXTS[name].path, response, "")


@pytest.mark.parametrize("name", OTHERS)
def test_others(protocol_server: Server, name: str) -> None:
    check(protocol_server, OTHERS[name])


@pytest.mark.parametrize("name", ENCODINGS)
def test_encodings(protocol_server: Server, name: str) -> None:
    response = check(protocol_server, ENCODINGS[name])
    assert ("accept-encoding" in response.headers) == (response.status == 415)


@pytest.mark.parametrize("name", NOWHERE)
def test_nowhere(protocol_server: Server, name: str) -> None:
    check(protocol_server, NOWHERE[name])


@pytest.mark.parametrize("name", METHODS)
def test_methods(protocol_server: Server, name: str) -> None:
    assert check(protocol_server, METHODS[name]).headers["allow"]


@pytest.mark.parametrize("path", UNREAD)
def test_large_bodies(protocol_server: Server, path: str) -> None:
    check(protocol_server, UNREAD[path])


@pytest.mark.parametrize("path", [INFER, PREDICT, "/invocations", "/hf/classify", "/vertex/predict"])
def test_chunked_bodies(protocol_server: Server, path: str) -> None:
    good: Callable[[bytes], bytes] = next(
        c.body for c in CALLS.values() if c.path == path and not c.lines[1:]
    )
    body = good(RED)
    frames = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    request = f"POST {path} HTTP/1.1\r\n{JSON}\r\nTransfer-Encoding: chunked\r\n".encode() + HOST + b"\r\n"
    with protocol_server.connect() as connection:
        for _ in range(2):
            connection.sendall(request + frames)
            assert read(connection).status == 200
        connection.sendall(request + b"2\r\n{}\r\n0\r\n\r\n")
        assert_error_format(path, read(connection), "")


def test_options_and_head(protocol_server: Server) -> None:
    for path, allowed in (
        *((INFER, "OPTIONS, POST"), ("/v2", "GET, HEAD, OPTIONS"), (PREDICT, "OPTIONS, POST")),
        *(("/invocations", "OPTIONS, POST"), ("/ping", "GET, HEAD, OPTIONS")),
    ):
        response = protocol_server.session.options(protocol_server.url + path, timeout=20)
        assert (response.status_code, response.content) == (200, b"")
        assert sorted(response.headers["Allow"].split(", ")) == allowed.split(", ")
    for path in ("/v2/health/ready", f"/v2/models/{MODEL}", f"/v1/models/{MODEL}", "/ping"):
        head_response = protocol_server.session.head(protocol_server.url + path, timeout=20)
        assert (head_response.status_code, head_response.content) == (200, b"")
        assert int(head_response.headers["Content-Length"]) == len(protocol_server.get(path).content)


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("/invocations", {"inputs": [B64], "params": {"x" * MEGABYTE: 1}}),
        ("/invocations", {"dataframe_records": [{"x" * MEGABYTE: "?"}]}),
        ("/hf/classify", {"inputs": B64, "parameters": {"function_to_apply": "x" * MEGABYTE}}),
        (PREDICT, {"instances": [{"b64": B64}], "signature_name": "x" * MEGABYTE}),
        (INFER, {"inputs": [given(name="x" * MEGABYTE)]}),
    ],
)
def test_errors_do_not_repeat_what_was_sent(protocol_server: Server, path: str, document: Any) -> None:  # noqa: ANN401
    response = protocol_server.post(path, json=document)
    assert response.status_code == 400
    assert len(response.content) < 1000


def test_of_a_member_that_comes_twice_the_last_counts(protocol_server: Server) -> None:
    blue = base64(one_colour_png(COLOURS["blue"]))
    for path, body in (
        ("/invocations", f'{{"inputs": ["{blue}"], "inputs": ["{B64}"]}}'),
        (PREDICT, f'{{"instances": [{{"b64": "{blue}", "b64": "{B64}"}}]}}'),
    ):
        response = protocol_server.post(path, data=body, headers={"Content-Type": "application/json"})
        first = response.json()["predictions"][0][0]
        assert first == pytest.approx(0.96, abs=0.01) if path == PREDICT else first["label"] == "red"


def test_there_was_no_server_error(protocol_server: Server) -> None:
    assert [line for line in protocol_server.log() if line["level"] == "error"] == []
    statuses = {line["status"] for line in protocol_server.log() if line["message"] == "request"}
    assert not statuses & set(range(500, 600))
