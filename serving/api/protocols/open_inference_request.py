"""A request of the Open Inference Protocol: from its document and its tensors to images.

Tensors are JSON or binary. Elements of the type BYTES are images, which JSON cannot hold: there they are in
base64, by a convention of this server.
"""

from collections.abc import Sequence
from typing import Annotated, Any

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from serving.api.errors import ImagesTooMany, TensorInvalid
from serving.api.model_repository import INPUT, OUTPUT, Entry
from serving.api.protocols import binary_tensors, json_pixels
from serving.api.protocols.json_documents import ALL, OBJECTS, check, in_turn, parse
from serving.api.protocols.open_inference_response import Wanted
from serving.model.decoder import Pixels

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


@in_turn
def read(
    body: bytes, header: str | None, entry: Entry, limit: int
) -> tuple[Sequence[bytes] | Pixels, Wanted]:
    """The images of a request, at most `limit`, and how the answer shall look."""
    head, tail = binary_tensors.split(body, header)
    if header is not None and not head:
        # A request without a document: the body is the tensor, and BYTES the one image.
        return (_binary_pixels(tail, entry, None) if entry.pixels else [body]), Wanted(binary=True)
    check(head, limit, OBJECTS if entry.pixels else ALL)
    document = parse(head, InferenceRequest)
    wanted = _wanted(document)
    if [given.name for given in document.inputs] != [INPUT]:
        raise TensorInvalid(f"there must be exactly one input, called {INPUT}")
    return _tensor(document.inputs[0], tail, entry, limit), wanted


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
    return _binary_pixels(tail, entry, count) if entry.pixels else binary_tensors.elements(tail, count)


def _count(given: InputTensor, entry: Entry) -> int:
    """How many images a tensor of this type and shape holds."""
    kind, side = ("UINT8", entry.size) if entry.pixels else ("BYTES", 0)
    fixed = [[side, side, json_pixels.CHANNELS]] if entry.pixels else [[], [1]]
    form = f"[N,{side},{side},{json_pixels.CHANNELS}]" if entry.pixels else "[N,1]"
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
    found = json_pixels.from_json(bytes(data), entry.size, limit, flat=True)
    if len(found) != count:
        raise TensorInvalid(f"its shape says {count} images and its data are {len(found)}")
    return found


def _binary_pixels(tensor: memoryview, entry: Entry, count: int | None) -> Pixels:
    """`count` images, or as many as there are."""
    each = entry.size * entry.size * json_pixels.CHANNELS
    if len(tensor) != each * (len(tensor) // each if count is None else count) or not tensor:
        raise TensorInvalid(f"each image has {each:,} bytes, and {len(tensor):,} came")
    return json_pixels.shaped(tensor, entry.size)
