"""Renders responses of the Open Inference Protocol: probabilities or classes, as JSON or binary."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt
from flask import Response
from msgspec import Struct

from serving.api.model_repository import OUTPUT, ModelEntry
from serving.api.protocols import binary_tensors
from serving.api.responses import json_response
from serving.model.predictor import Probabilities


class OutputTensor(Struct, omit_defaults=True):
    """Probabilities, or classes as `value:index:label`; `data` is row-major, and absent if binary."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, int] | None = None
    data: list[float | str] | None = None


class InferenceResponse(Struct, omit_defaults=True):
    """The response; its parameters hold the digest of the model."""

    model_name: str
    model_version: str
    parameters: dict[str, str]
    outputs: list[OutputTensor]
    id: str | None = None


@dataclass(frozen=True)
class OutputOptions:
    """The requested format; `classes`: number of best classes, 0 for all probabilities in label order."""

    id: str | None = None
    binary: bool = False
    classes: int = 0


def inference_response(
    entry: ModelEntry, options: OutputOptions, predictions: Sequence[Probabilities]
) -> Response:
    """The response. A binary tensor follows the JSON document."""
    probabilities = np.stack(predictions)
    if options.classes:
        output, binary = _classes(probabilities, entry, options)
    else:
        output, binary = _probabilities(probabilities, options)
    parameters = {"model_digest": entry.pin.digest}
    document = InferenceResponse(entry.name, entry.version, parameters, [output], options.id)
    if not options.binary:
        return json_response(document)
    output.parameters = {"binary_data_size": len(binary)}
    head = msgspec.json.encode(document)
    headers = {binary_tensors.LENGTH_HEADER: str(len(head))}
    return Response(head + binary, headers=headers, mimetype="application/octet-stream")


def _probabilities(
    probabilities: npt.NDArray[np.float32], options: OutputOptions
) -> tuple[OutputTensor, bytes]:
    output = OutputTensor(OUTPUT, list(probabilities.shape), "FP32")
    if options.binary:
        return output, probabilities.astype("<f4").tobytes()
    output.data = [*probabilities.ravel().tolist()]
    return output, b""


def _classes(
    probabilities: npt.NDArray[np.float32], entry: ModelEntry, options: OutputOptions
) -> tuple[OutputTensor, bytes]:
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, : options.classes]
    texts = [
        f"{row[index]:.6f}:{index}:{_escape(entry.labels[index].name)}"
        for row, indices in zip(probabilities, best, strict=True)
        for index in indices
    ]
    output = OutputTensor(OUTPUT, list(best.shape), "BYTES")
    if options.binary:
        return output, binary_tensors.join_elements(text.encode() for text in texts)
    output.data = [*texts]
    return output, b""


def _escape(label: str) -> str:
    """Percent-encodes the colon, which separates the fields, and the percent sign."""
    return label.replace("%", "%25").replace(":", "%3A")
