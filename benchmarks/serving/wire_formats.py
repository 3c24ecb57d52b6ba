"""Request and response formats of the contenders: how a photo is encoded, and where the top class stands."""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from serving.artifact.bundle import Label

# Reads the name or id of the top class from a response body.
TopClass = Callable[[bytes], str]


@dataclass(frozen=True)
class WireFormat:
    """The content type, the encoder of a request body, the parser of a response body, other headers."""

    content_type: str
    encode: Callable[[bytes], bytes]
    top_class: TopClass
    more_headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def headers(self) -> dict[str, str]:
        """All headers of a request that depend on its format."""
        return {"Content-Type": self.content_type, **self.more_headers}


def form(field: str, top_class: TopClass) -> WireFormat:
    """A multipart form with one file, as browsers and `curl -F` send it."""
    disposition = f'Content-Disposition: form-data; name="{field}"; filename="photo.jpg"'
    begin = f"--b\r\n{disposition}\r\nContent-Type: image/jpeg\r\n\r\n".encode()
    content_type = "multipart/form-data; boundary=b"
    return WireFormat(content_type, lambda data: begin + data + b"\r\n--b--\r\n", top_class)


def raw(top_class: TopClass) -> WireFormat:
    """The photo is the body."""
    return WireFormat("image/jpeg", lambda data: data, top_class)


def mlflow_dataframe() -> WireFormat:
    """MLflow's `dataframe_split`: a table with one cell."""

    def encode(data: bytes) -> bytes:
        return json.dumps({"dataframe_split": {"columns": ["image"], "data": [[_base64(data)]]}}).encode()

    return WireFormat("application/json", encode, lambda body: _id(json.loads(body)["predictions"][0]))


def open_inference() -> WireFormat:
    """The Open Inference Protocol in JSON with MLServer's content type for bytes; classes are a string."""
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "parameters": {"content_type": "base64"}}

    def encode(data: bytes) -> bytes:
        return json.dumps({"inputs": [tensor | {"data": [_base64(data)]}]}).encode()

    return WireFormat(
        "application/json", encode, lambda body: first_class(json.loads(body)["outputs"][0]["data"][0])
    )


def triton_binary() -> WireFormat:
    """Triton's raw binary request: the photo is the body. The response is JSON, then a string of classes."""

    def top_class(body: bytes) -> str:
        description, _ = json.JSONDecoder().raw_decode(body.decode("latin-1"))
        size = description["outputs"][0]["parameters"]["binary_data_size"]
        # Four bytes give the length of the string.
        return first_class(body[-size:][4:])

    # No JSON precedes the photo.
    headers = {"Inference-Header-Content-Length": "0"}
    return WireFormat("application/octet-stream", lambda data: data, top_class, headers)


def highest_confidence(body: bytes) -> str:
    """From an object {name: confidence}, which some servers do not sort."""
    scores: dict[str, float] = json.loads(body)
    return max(scores, key=lambda name: scores[name])


def first_class(body: bytes | str) -> str:
    """From a list of classes, best first."""
    return _id(json.loads(body))


def is_class(top_class: str, label: Label) -> bool:
    """Whether a response names this class.

    Where two classes share a name, ours has the id in brackets after it, and Keras's has not.
    """
    return top_class in (label.id, label.name, label.name.split(" (")[0])


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _id(classes: list[dict[str, object]]) -> str:
    return str(classes[0]["id"])
