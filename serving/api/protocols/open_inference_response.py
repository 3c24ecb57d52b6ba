"""An answer of the Open Inference Protocol: probabilities or classes, as JSON or as bytes."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt
from flask import Response
from msgspec import Struct

from serving.api.model_repository import OUTPUT, Entry
from serving.api.protocols import binary_tensors
from serving.api.responses import json
from serving.model.predictor import Probabilities


class OutputTensor(Struct, omit_defaults=True):
    """Probabilities, or classes as `value:index:label`; `data` row by row, unless it comes as bytes."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, int] | None = None
    data: list[float | str] | None = None


class InferenceResponse(Struct, omit_defaults=True):
    """The answer; its parameters tell which bytes gave it."""

    model_name: str
    model_version: str
    parameters: dict[str, str]
    outputs: list[OutputTensor]
    id: str | None = None


@dataclass(frozen=True)
class Wanted:
    """How the answer shall look; `classes`: how many, 0 for all probabilities in their order."""

    id: str | None = None
    binary: bool = False
    classes: int = 0


def answer(entry: Entry, wanted: Wanted, rows: Sequence[Probabilities]) -> Response:
    """The response, with its tensor in it or behind it."""
    probabilities = np.stack(rows)
    if wanted.classes:
        output, binary = _classes(probabilities, entry, wanted)
    else:
        output, binary = _probabilities(probabilities, wanted)
    parameters = {"model_digest": entry.pin.digest}
    document = InferenceResponse(entry.name, entry.version, parameters, [output], wanted.id)
    if not wanted.binary:
        return json(document)
    output.parameters = {"binary_data_size": len(binary)}
    head = msgspec.json.encode(document)
    sizes = {binary_tensors.HEADER: str(len(head))}
    return Response(head + binary, headers=sizes, mimetype="application/octet-stream")


def _probabilities(found: npt.NDArray[np.float32], wanted: Wanted) -> tuple[OutputTensor, bytes]:
    output = OutputTensor(OUTPUT, list(found.shape), "FP32")
    if wanted.binary:
        return output, found.astype("<f4").tobytes()
    output.data = [*found.ravel().tolist()]
    return output, b""


def _classes(found: npt.NDArray[np.float32], entry: Entry, wanted: Wanted) -> tuple[OutputTensor, bytes]:
    best = np.argsort(-found, axis=1, kind="stable")[:, : wanted.classes]
    texts = [
        f"{row[index]:.6f}:{index}:{_escaped(entry.labels[index].name)}"
        for row, indices in zip(found, best, strict=True)
        for index in indices
    ]
    output = OutputTensor(OUTPUT, list(best.shape), "BYTES")
    if wanted.binary:
        return output, binary_tensors.joined(text.encode() for text in texts)
    output.data = [*texts]
    return output, b""


def _escaped(label: str) -> str:
    """A label without a colon, which parts the fields; what decodes URLs gives the label back."""
    return label.replace("%", "%25").replace(":", "%3A")
