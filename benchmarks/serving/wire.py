"""How a photo travels to each contender, and how the winner is read from its answer."""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass

from serving.artifact.bundle import Label

Winner = Callable[[bytes], str]


@dataclass(frozen=True)
class Wire:
    """A content type, the body for a photo, and the name or id of the class that an answer puts first."""

    kind: str
    body: Callable[[bytes], bytes]
    winner: Winner


def same(winner: str, label: Label) -> bool:
    """Is it this class? Where two have one name, ours adds the id in brackets and Keras does not."""
    return winner in (label.id, label.name, label.name.split(" (")[0])


def form(field: str, winner: Winner) -> Wire:
    """A form with one file, as browsers and `curl -F` send it."""
    disposition = f'Content-Disposition: form-data; name="{field}"; filename="photo.jpg"'
    begin = f"--b\r\n{disposition}\r\nContent-Type: image/jpeg\r\n\r\n".encode()
    return Wire("multipart/form-data; boundary=b", lambda data: begin + data + b"\r\n--b--\r\n", winner)


def raw(winner: Winner) -> Wire:
    """The photo itself."""
    return Wire("image/jpeg", lambda data: data, winner)


def dataframe(winner: Winner) -> Wire:
    """MLflow's protocol: a table with one cell."""

    def body(data: bytes) -> bytes:
        table = {"columns": ["image"], "data": [[base64.b64encode(data).decode()]]}
        return json.dumps({"dataframe_split": table}).encode()

    return Wire("application/json", body, winner)


def inference_protocol(winner: Winner) -> Wire:
    """The Open Inference Protocol in JSON, with MLServer's content type for bytes."""

    def body(data: bytes) -> bytes:
        tensor = {
            "name": "image",
            "shape": [1],
            "datatype": "BYTES",
            "parameters": {"content_type": "base64"},
        }
        return json.dumps({"inputs": [tensor | {"data": [base64.b64encode(data).decode()]}]}).encode()

    return Wire("application/json", body, winner)


def by_confidence(answer: bytes) -> str:
    """Of an object with a confidence for each name; not all keep them in order."""
    scores: dict[str, float] = json.loads(answer)
    return max(scores, key=lambda name: scores[name])


def first(answer: bytes) -> str:
    """Of a list of classes, best first."""
    return str(json.loads(answer)[0]["id"])


def first_prediction(answer: bytes) -> str:
    """The same inside MLflow's answer."""
    return str(json.loads(answer)["predictions"][0][0]["id"])


def first_output(answer: bytes) -> str:
    """The same inside the Open Inference Protocol's answer, where it is a text."""
    return first(json.loads(answer)["outputs"][0]["data"][0].encode())
