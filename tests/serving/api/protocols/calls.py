"""A request for one image in every protocol, and how to read the probabilities from its response."""

import re
import struct
from base64 import b64encode
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import msgspec

from tests.serving.bundles import COLOURS
from tests.serving.wire import RawResponse, post

MODEL, TENSOR = "colours", "colours_tensor"
LABELS = list(COLOURS)
JSON = "Content-Type: application/json"
HEADER = "Inference-Header-Content-Length"


class Call(NamedTuple):
    """A request for one image; `read` returns the probabilities of its response in label order."""

    path: str
    body: Callable[[bytes], bytes]
    lines: tuple[str, ...]
    read: Callable[[RawResponse], list[float]]

    def request(self, image: bytes) -> bytes:
        """The whole request."""
        return post(self.path, self.body(image), *self.lines)


def base64(image: bytes) -> str:
    return b64encode(image).decode()


def document(form: Callable[[str], Any]) -> Callable[[bytes], bytes]:
    """A JSON document with an image in base64."""
    return lambda image: msgspec.json.encode(form(base64(image)))


def by_label(scores: list[dict[str, Any]]) -> list[float]:
    """The scores in label order."""
    found = {score["label"]: float(score["score"]) for score in scores}
    return [found[label] for label in LABELS]


def tensor(image: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401  (JSON)
    """A request of the Open Inference Protocol."""
    return {"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": [image]}], **more}


def binary(image: bytes) -> bytes:
    """The same with binary input and output, which follow the JSON documents."""
    given = {
        "name": "image",
        "shape": [1],
        "datatype": "BYTES",
        "parameters": {"binary_data_size": 4 + len(image)},
    }
    head = msgspec.json.encode({"inputs": [given], "parameters": {"binary_data_output": True}})
    # Padded to a fixed length, which is the value of the header.
    return head.ljust(300) + struct.pack("<I", len(image)) + image


def floats(response: RawResponse) -> list[float]:
    """The binary output after the document of a response."""
    return list(struct.unpack("<3f", response.body[int(response.headers[HEADER.lower()]) :]))


CALLS = {
    "native": Call("/predict", bytes, (), lambda a: by_label(a.json["predictions"][0])),
    "open inference": Call(
        f"/v2/models/{MODEL}/infer", document(tensor), (), lambda a: list(a.json["outputs"][0]["data"])
    ),
    "open inference, binary": Call(
        f"/v2/models/{MODEL}/versions/3/infer", binary, (f"{HEADER}: 300",), floats
    ),
    "open inference, raw": Call(f"/v2/models/{MODEL}/infer", bytes, (f"{HEADER}: 0",), floats),
    "tensorflow serving, rows": Call(
        f"/v1/models/{MODEL}:predict",
        document(lambda image: {"instances": [{"b64": image}]}),
        (),
        lambda a: list(a.json["predictions"][0]),
    ),
    "tensorflow serving, columns": Call(
        f"/v1/models/{MODEL}/labels/champion:predict",
        document(lambda image: {"inputs": {"image_bytes": {"b64": image}}}),
        (),
        lambda a: list(a.json["outputs"][0]),
    ),
    "tensorflow serving, classify": Call(
        f"/v1/models/{MODEL}/versions/3:classify",
        document(lambda image: {"examples": [{"image": {"b64": image}}]}),
        (),
        lambda a: [dict(a.json["results"][0])[label] for label in LABELS],
    ),
    "mlflow, split": Call(
        "/invocations",
        document(lambda image: {"dataframe_split": {"columns": ["image"], "data": [[image]]}}),
        (JSON,),
        lambda a: by_label(a.json["predictions"][0]),
    ),
    "mlflow, records": Call(
        "/invocations",
        document(lambda image: {"dataframe_records": [{"image": image}]}),
        ("Content-Type: application/json; charset=utf-8",),
        lambda a: by_label(a.json["predictions"][0]),
    ),
    "mlflow, instances": Call(
        "/invocations",
        document(lambda image: {"instances": [image]}),
        (JSON,),
        lambda a: by_label(a.json["predictions"][0]),
    ),
    "mlflow, inputs": Call(
        "/invocations",
        document(lambda image: {"inputs": {"image": [image]}}),
        (JSON,),
        lambda a: by_label(a.json["predictions"][0]),
    ),
    "sagemaker": Call(
        "/invocations",
        bytes,
        ("Content-Type: image/jpeg",),
        lambda a: by_label(a.json["predictions"][0]),
    ),
    "hugging face": Call("/hf/classify", bytes, (), lambda a: by_label(a.json)),
    "hugging face, document": Call(
        "/hf/classify",
        document(lambda image: {"inputs": image, "parameters": {"top_k": 9}}),
        (JSON,),
        lambda a: by_label(a.json),
    ),
    "vertex ai": Call(
        "/vertex/predict",
        document(lambda image: {"instances": [{"b64": image}]}),
        (JSON,),
        lambda a: by_label(a.json["predictions"][0]),
    ),
}

# Invalid in any JSON text (RFC 8259, 8.1 and 8.2): bytes that are not UTF-8, unpaired surrogates.
NO_UTF_8 = {
    "stray byte": b"\xff",
    "lone continuation": b"a\x80",
    "cut sequence": b"\xe2\x82",
    "overlong slash": b"\xc0\xaf",
    "surrogate": b"\xed\xa0\x80",
    "beyond Unicode": b"\xf4\x90\x80\x80",
    "Latin-1": b"caf\xe9",
}
HALF_PAIRS = {
    "first half": rb"\ud83d",
    "second half": rb"\ude00",
    "halves swapped": rb"\ude00\ud83d",
    "half and text": rb"\ud83d!",
}
# Valid but unusual texts.
ODD = {
    "zero": rb"\u0000",
    "raw control character": b"\x01",
    "raw line break": b"\n",
    "whole pair": rb"\ud83d\ude00",
    "no escape": rb"\x41",
    "mark": "\ufeff".encode(),
    "no character": "\uffff".encode(),
}
STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
# Unusual values, which replace any other one.
ODD_VALUES = {
    "NaN": b"NaN",
    "infinity": b"-Infinity",
    "huge integer": b"9" * 5000,
    "huge exponent": b"1e999999999",
    "tiny": b"1e-999999999",
    "many digits": b"0." + b"1" * 5000,
    "deep": b"[" * 5000 + b"]" * 5000,
    "null": b"null",
    "negative zero": b"-0",
}


class Document(NamedTuple):
    """A call's JSON document; `request` makes the request with another document."""

    path: str
    data: bytes
    request: Callable[[bytes], bytes]


def documents(image: bytes) -> dict[str, Document]:
    """The documents of the calls, by name, where the body has one."""
    found = {}
    for name, call in CALLS.items():
        body = call.body(image)
        if name == "open inference, binary":
            found[name] = Document(call.path, body[:300].rstrip(), partial(_with_tail, call.path, body[300:]))
        elif body.startswith(b"{"):
            found[name] = Document(call.path, body, partial(_alone, call))
    return found


def _alone(call: Call, data: bytes) -> bytes:
    return post(call.path, data, *call.lines)


def _with_tail(path: str, tail: bytes, data: bytes) -> bytes:
    return post(path, data + tail, f"{HEADER}: {len(data)}")


def with_text(document: bytes, text: bytes) -> dict[str, bytes]:
    """Documents with a text in place of each string, and in unknown members."""
    found = {}
    for string in STRING.finditer(document):
        for place, kept in (("for", b""), ("before", string[0][1:-1])):
            changed = b'"' + text + kept + b'"'
            name = f"{place} {string.start()}"
            found[name] = document[: string.start()] + changed + document[string.end() :]
    found["a name that is not known"] = b'{"' + text + b'": 1, ' + document[1:]
    found["a value that is not known"] = b'{"unknown": {"a": ["' + text + b'"]}, ' + document[1:]
    return found


def with_value(document: bytes, value: bytes) -> dict[str, bytes]:
    """Documents with a value in place of each string, and in duplicate and unknown members."""
    found = {"not known": b'{"unknown": ' + value + b", " + document[1:]}
    for string in STRING.finditer(document):
        if document[string.end() : string.end() + 1] == b":":
            twice = string[0] + b": " + value + b", "
            found[f"twice {string.start()}"] = document[: string.start()] + twice + document[string.start() :]
        else:
            found[f"for {string.start()}"] = document[: string.start()] + value + document[string.end() :]
    return found
