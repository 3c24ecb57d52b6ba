"""Parses requests of the Open Inference Protocol into images.

Tensors are JSON or binary. Elements of the type BYTES are encoded images; in JSON, which has no bytes, they
are base64, by a convention of this server.
"""

from collections.abc import Sequence
from typing import Annotated, Any

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from serving.api.errors import ImagesTooMany, TensorInvalid
from serving.api.model_repository import INPUT, OUTPUT, ModelEntry
from serving.api.protocols import binary_tensors, json_pixels
from serving.api.protocols.json_documents import (
    ALL_MARKS,
    OBJECT_MARKS,
    check_document,
    one_large_body_at_a_time,
    parse,
)
from serving.api.protocols.open_inference_response import OutputOptions
from serving.model.decoder import Pixels

# Maximum length of a shape in JSON; every valid shape is shorter.
MAX_SHAPE_BYTES = 200
# Images in JSON, flat or one per row. `Any`, because mypy does not accept the union as a type argument.
NESTED: Any = list[bytes | list[bytes]]


class InputParameters(Struct):
    """The number of bytes of the tensor after the document."""

    binary_data_size: Annotated[int, Meta(ge=0)] | None = None


class InputTensor(Struct):
    """The images to classify."""

    name: str
    shape: Raw
    datatype: str
    parameters: InputParameters | None = None
    data: Raw | UnsetType = UNSET


class OutputParameters(Struct):
    """The format of an output: binary or JSON, probabilities or classes."""

    binary_data: bool | None = None
    classification: Annotated[int, Meta(ge=0)] = 0


class RequestedOutput(Struct):
    """An output that the client asks for."""

    name: str
    parameters: OutputParameters | None = None


class RequestParameters(Struct):
    """Whether outputs are binary if they have no `binary_data` of their own."""

    binary_data_output: bool = False


class InferenceRequest(Struct):
    """Has exactly one input, and at most one output."""

    inputs: list[InputTensor]
    id: str | None = None
    parameters: RequestParameters | None = None
    outputs: list[RequestedOutput] | None = None


@one_large_body_at_a_time
def parse_request(
    body: bytes, header: str | None, entry: ModelEntry, limit: int
) -> tuple[Sequence[bytes] | Pixels, OutputOptions]:
    """The images of a request, at most `limit`, and the requested format of the output."""
    head, tail = binary_tensors.split_body(body, header)
    if header is not None and not head:
        # A raw binary request has no document: the body is the tensor, or one encoded image.
        return (_binary_pixels(tail, entry, None) if entry.pixels else [body]), OutputOptions(binary=True)
    check_document(head, limit, OBJECT_MARKS if entry.pixels else ALL_MARKS)
    document = parse(head, InferenceRequest)
    options = _output_options(document)
    if [tensor.name for tensor in document.inputs] != [INPUT]:
        raise TensorInvalid(f"there must be exactly one input, called {INPUT}")
    return _tensor(document.inputs[0], tail, entry, limit), options


def _output_options(document: InferenceRequest) -> OutputOptions:
    binary = document.parameters is not None and document.parameters.binary_data_output
    if not document.outputs:
        return OutputOptions(document.id, binary)
    if [output.name for output in document.outputs] != [OUTPUT]:
        raise TensorInvalid(f"there is one output, {OUTPUT}, which may be asked for once")
    output = document.outputs[0].parameters or OutputParameters()
    binary = binary if output.binary_data is None else output.binary_data
    return OutputOptions(document.id, binary, output.classification)


def _tensor(tensor: InputTensor, tail: memoryview, entry: ModelEntry, limit: int) -> Sequence[bytes] | Pixels:
    count = _count(tensor, entry)
    if count > limit:
        raise ImagesTooMany(count, limit)
    size = tensor.parameters and tensor.parameters.binary_data_size
    if (size is None) == isinstance(tensor.data, UnsetType):
        raise TensorInvalid("an input has either data or binary_data_size")
    if isinstance(tensor.data, Raw):
        if tail:
            raise TensorInvalid(
                f"{len(tail):,} bytes follow the document, and no input has a binary_data_size"
            )
        if entry.pixels:
            return _json_pixels(tensor.data, entry, count, limit)
        return _json_images(tensor.data, count)
    if size != len(tail):
        raise TensorInvalid(f"binary_data_size is {size}, and {len(tail):,} bytes follow the document")
    return _binary_pixels(tail, entry, count) if entry.pixels else binary_tensors.parse_elements(tail, count)


def _count(tensor: InputTensor, entry: ModelEntry) -> int:
    """The number of images of a tensor, from its type and shape."""
    kind, side = ("UINT8", entry.size) if entry.pixels else ("BYTES", 0)
    fixed = [[side, side, json_pixels.CHANNELS]] if entry.pixels else [[], [1]]
    expected = f"[N,{side},{side},{json_pixels.CHANNELS}]" if entry.pixels else "[N,1]"
    shape_json = bytes(tensor.shape)
    shape = parse(shape_json, list[int]) if len(shape_json) <= MAX_SHAPE_BYTES else []
    if tensor.datatype != kind or not shape or shape[1:] not in fixed or shape[0] < 1:
        raise TensorInvalid(f"{INPUT} must be {kind} of the shape {expected}")
    return shape[0]


def _json_images(data: Raw, count: int) -> list[bytes]:
    nested: list[bytes | list[bytes]] = parse(data, NESTED)
    images = [image for row in nested for image in (row if isinstance(row, list) else [row])]
    if len(images) != count:
        raise TensorInvalid(f"its shape says {count} and its data are {len(images)} elements")
    return images


def _json_pixels(data: Raw, entry: ModelEntry, count: int, limit: int) -> Pixels:
    images = json_pixels.parse_pixels(bytes(data), entry.size, limit, flat=True)
    if len(images) != count:
        raise TensorInvalid(f"its shape says {count} images and its data are {len(images)}")
    return images


def _binary_pixels(tensor: memoryview, entry: ModelEntry, count: int | None) -> Pixels:
    """A binary tensor of `count` images, or of any number if that is None."""
    each = entry.size * entry.size * json_pixels.CHANNELS
    if len(tensor) != each * (len(tensor) // each if count is None else count) or not tensor:
        raise TensorInvalid(f"each image has {each:,} bytes, and {len(tensor):,} came")
    return json_pixels.as_images(tensor, entry.size)
