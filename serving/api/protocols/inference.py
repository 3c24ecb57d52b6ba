"""An inference of the Open Inference Protocol: from its request to images, from probabilities to its answer.

Tensors are JSON or binary, in both directions and independently. Elements of the type BYTES are images, which
JSON cannot hold: there they are in base64, by a convention of this server.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt
from flask import Response
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from serving.api.catalogue import INPUT, OUTPUT, Entry
from serving.api.errors import ImagesTooMany, TensorInvalid
from serving.api.protocols import pixels, tensors
from serving.api.protocols.documents import ALL, OBJECTS, bound, parse
from serving.api.respond import json
from serving.decoder import Pixels
from serving.predictor import Probabilities

# Of the JSON of a shape: no shape that fits needs more.
SHAPE_BYTES = 200
# Images as JSON has them, flat or one in each row. A type checker does not take it for a type.
NESTED: Any = list[bytes | list[bytes]]


class InputParameters(Struct):
    """The number of bytes that the tensor has behind the document."""

    binary_data_size: Annotated[int, Meta(ge=0)] | None = None


class InputTensor(Struct):
    """What is to be classified."""

    name: str
    shape: Raw
    datatype: str
    parameters: InputParameters | None = None
    data: Raw | UnsetType = UNSET


class OutputParameters(Struct):
    """How an output is wanted: as bytes, as classes."""

    binary_data: bool | None = None
    classification: Annotated[int, Meta(ge=0)] = 0


class RequestedOutput(Struct):
    """An output that is wanted."""

    name: str
    parameters: OutputParameters | None = None


class RequestParameters(Struct):
    """Whether outputs come as bytes that do not say so themselves."""

    binary_data_output: bool = False


class InferenceRequest(Struct):
    """Exactly one input, and none or one output."""

    inputs: list[InputTensor]
    id: str | None = None
    parameters: RequestParameters | None = None
    outputs: list[RequestedOutput] | None = None


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


def read(
    body: bytes, header: str | None, entry: Entry, limit: int
) -> tuple[Sequence[bytes] | Pixels, Wanted]:
    """The images of a request, at most `limit`, and how the answer shall look."""
    head, tail = tensors.split(body, header)
    if header is not None and not head:
        # A request without a document: the body is the tensor, and BYTES the one image.
        return (_binary_pixels(tail, entry, None) if entry.pixels else [body]), Wanted(binary=True)
    bound(head, limit, OBJECTS if entry.pixels else ALL)
    document = parse(head, InferenceRequest)
    wanted = _wanted(document)
    if [given.name for given in document.inputs] != [INPUT]:
        raise TensorInvalid(f"there must be exactly one input, called {INPUT}")
    return _tensor(document.inputs[0], tail, entry, limit), wanted


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
    sizes = {tensors.HEADER: str(len(head))}
    return Response(head + binary, headers=sizes, mimetype="application/octet-stream")


def _wanted(document: InferenceRequest) -> Wanted:
    binary = document.parameters is not None and document.parameters.binary_data_output
    if not document.outputs:
        return Wanted(document.id, binary)
    if [output.name for output in document.outputs] != [OUTPUT]:
        raise TensorInvalid(f"there is one output, {OUTPUT}, which may be asked for once")
    how = document.outputs[0].parameters or OutputParameters()
    return Wanted(document.id, binary if how.binary_data is None else how.binary_data, how.classification)


def _tensor(given: InputTensor, tail: memoryview, entry: Entry, limit: int) -> Sequence[bytes] | Pixels:
    count = _count(given, entry)
    if count > limit:
        raise ImagesTooMany(count, limit)
    size = given.parameters and given.parameters.binary_data_size
    if (size is None) == isinstance(given.data, UnsetType):
        raise TensorInvalid("an input has either data or binary_data_size")
    if isinstance(given.data, Raw):
        if tail:
            raise TensorInvalid(
                f"{len(tail):,} bytes follow the document, and no input has a binary_data_size"
            )
        if entry.pixels:
            return _json_pixels(given.data, entry, count, limit)
        return _json_images(given.data, count)
    if size != len(tail):
        raise TensorInvalid(f"binary_data_size is {size}, and {len(tail):,} bytes follow the document")
    return _binary_pixels(tail, entry, count) if entry.pixels else tensors.elements(tail, count)


def _escaped(label: str) -> str:
    """A label without a colon, which parts the fields; what decodes URLs gives the label back."""
    return label.replace("%", "%25").replace(":", "%3A")


def _count(given: InputTensor, entry: Entry) -> int:
    """How many images a tensor of this type and shape holds."""
    kind, side = ("UINT8", entry.size) if entry.pixels else ("BYTES", 0)
    fixed = [[side, side, pixels.CHANNELS]] if entry.pixels else [[], [1]]
    form = f"[N,{side},{side},{pixels.CHANNELS}]" if entry.pixels else "[N,1]"
    written = bytes(given.shape)
    shape = parse(written, list[int]) if len(written) <= SHAPE_BYTES else []
    if given.datatype != kind or not shape or shape[1:] not in fixed or shape[0] < 1:
        raise TensorInvalid(f"{INPUT} must be {kind} of the shape {form}")
    return shape[0]


def _json_images(data: Raw, count: int) -> list[bytes]:
    nested: list[bytes | list[bytes]] = parse(data, NESTED)
    found = [image for row in nested for image in (row if isinstance(row, list) else [row])]
    if len(found) != count:
        raise TensorInvalid(f"its shape says {count} and its data are {len(found)} elements")
    return found


def _json_pixels(data: Raw, entry: Entry, count: int, limit: int) -> Pixels:
    found = pixels.from_json(bytes(data), entry.size, limit)
    if len(found) != count:
        raise TensorInvalid(f"its shape says {count} images and its data are {len(found)}")
    return found


def _binary_pixels(tensor: memoryview, entry: Entry, count: int | None) -> Pixels:
    """`count` images, or as many as there are."""
    each = entry.size * entry.size * pixels.CHANNELS
    if len(tensor) != each * (len(tensor) // each if count is None else count) or not tensor:
        raise TensorInvalid(f"each image has {each:,} bytes, and {len(tensor):,} came")
    return pixels.shaped(tensor, entry.size)


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
        return output, tensors.joined(text.encode() for text in texts)
    output.data = [*texts]
    return output, b""
