"""One image, asked by every protocol: what is sent, and the probabilities in what comes back."""

import struct
from base64 import b64encode
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from tests.serving.bundles import COLOURS
from tests.serving.wire import Answer, post

MODEL, TENSOR = "colours", "colours_tensor"
LABELS = list(COLOURS)
JSON = "Content-Type: application/json"
HEADER = "Inference-Header-Content-Length"


class Call(NamedTuple):
    """A request for one image, and how its answer is read, as probabilities in the order of the labels."""

    path: str
    body: Callable[[bytes], bytes]
    lines: tuple[str, ...]
    read: Callable[[Answer], list[float]]

    def request(self, image: bytes) -> bytes:
        """The whole request."""
        return post(self.path, self.body(image), *self.lines)


def base64(image: bytes) -> str:
    return b64encode(image).decode()


def document(form: Callable[[str], Any]) -> Callable[[bytes], bytes]:
    """A JSON document with an image in base64."""
    return lambda image: msgspec.json.encode(form(base64(image)))


def by_label(scores: list[dict[str, Any]]) -> list[float]:
    """In the order of the labels."""
    found = {score["label"]: float(score["score"]) for score in scores}
    return [found[label] for label in LABELS]


def tensor(image: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401  (JSON)
    """A request of the Open Inference Protocol."""
    return {"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": [image]}], **more}


def binary(image: bytes) -> bytes:
    """The same, with the image behind the document, and so the answer."""
    given = {
        "name": "image",
        "shape": [1],
        "datatype": "BYTES",
        "parameters": {"binary_data_size": 4 + len(image)},
    }
    head = msgspec.json.encode({"inputs": [given], "parameters": {"binary_data_output": True}})
    # Always of one length, so that the header can say so.
    return head.ljust(300) + struct.pack("<I", len(image)) + image


def floats(answer: Answer) -> list[float]:
    """The output that follows the document of an answer."""
    return list(struct.unpack("<3f", answer.body[int(answer.headers[HEADER.lower()]) :]))


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
